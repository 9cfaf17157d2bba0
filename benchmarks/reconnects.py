# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a reconnect costs for good, and how long a camera that is asked to play is waited for.

Memory: one process opens simulated cameras, reads a few pictures and hangs up, a thousand times, over TCP and UDP; and
asks at a port where nobody is, as for an hour of dead cameras. The slope of its resident memory is the result, and its
standard error beside it; as many attempts before that are not counted, because memory settles first. Time: from the first byte sent to the first decoded
picture, in groups of pictures. The last line is one JSON object.
"""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from footage import Footage, quiet_clip

READER = Path(__file__).resolve().parent / "readers" / "reconnecting.py"
READINGS = 40
FIRST_PICTURES = 64
GOP_S = 2.0


class Child:
    """A process that answers each line of JSON with one."""

    def __init__(self, *command: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def read(self) -> Any:
        """Return its next answer."""
        assert self._process.stdout is not None
        return json.loads(self._process.stdout.readline())

    def ask(self, **order: object) -> Any:
        """Give an order; return the answer."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        return self.read()

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=20)


@contextlib.contextmanager
def cameras(clip: Path, count: int) -> Iterator[list[str]]:
    """Serve a clip as `count` cameras in a process of its own; yields their URLs."""
    simulate = ("-m", "gridwatch.app.cli", "simulate", str(clip), "--cameras", str(count))
    child = Child(*simulate, "--port", "0", "--with-parent")
    try:
        yield [camera["url"] for camera in child.read()["cameras"]]
    finally:
        child.close()


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """Yield a URL at whose port nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"rtsp://admin:secret@127.0.0.1:{taken.getsockname()[1]}/gone"


def slope_of(urls: Sequence[str], tries: int, transport: str = "tcp") -> dict[str, float]:
    """Return the bytes that stay behind with each attempt, by least squares, and how sure that is."""
    reader = Child(str(READER))
    failed = reader.ask(do="look", urls=urls, transport=transport, tries=tries)["failed"]
    readings = []
    for step in range(READINGS):
        share = (step + 1) * tries // READINGS - step * tries // READINGS
        answer = reader.ask(do="look", urls=urls, transport=transport, tries=share)
        readings.append(((step + 1) * tries // READINGS, answer["rss_bytes"]))
        failed += answer["failed"]
    reader.close()
    done, held = np.array(readings, dtype=float).T
    (slope, _), covariance = np.polyfit(done, held, 1, cov=True)
    return {
        "bytes_each": round(float(slope), 1),
        "standard_error": round(float(np.sqrt(covariance[0, 0])), 1),
        "tries": tries,
        "failed": failed,
        "rss_mib": round(float(held[-1]) / (1 << 20), 1),
    }


def first_picture_gops(clip: Path, gop_s: float) -> dict[str, float]:
    """Return the median and the 95th percentile of the time to the first decoded picture, in groups of pictures."""
    reader = Child(str(READER))
    with cameras(clip, 16) as urls:
        waited = np.array(reader.ask(do="first", urls=urls, tries=FIRST_PICTURES)["waited_s"]) / gop_s
    reader.close()
    return {f"p{of}": round(float(np.percentile(waited, of)), 2) for of in (50, 95)}


def measure(clip: Path, tries: int = 1000, gop_s: float = GOP_S) -> dict[str, Any]:
    """Return all figures; `clip` has a key picture every `gop_s`. Memory is measured on a clip with more of them."""
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        spec = Footage(seconds=4, size=(640, 360), gop_s=0.2, bit_rate=500_000)
        with cameras(quiet_clip(Path(folder) / "short.mp4", spec), 8) as urls:
            for transport in ("tcp", "udp"):
                result[transport] = slope_of(urls, tries, transport)
    with nobody() as url:
        result["dead"] = slope_of([url], 4 * tries)
    result["first_picture_gops"] = first_picture_gops(clip, gop_s)
    return {"rss_slope_bytes_per_reconnect": result["tcp"]["bytes_each"], **result}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tries", type=int, default=1000, help="reconnects of each kind")
    tries = max(READINGS, parser.parse_args().tries)
    with tempfile.TemporaryDirectory() as folder:
        spec = Footage(seconds=8, size=(640, 360), gop_s=GOP_S, bit_rate=500_000)
        print(json.dumps(measure(quiet_clip(Path(folder) / "long.mp4", spec), tries)))


if __name__ == "__main__":
    main()
