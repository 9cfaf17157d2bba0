# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a reconnect costs for good, and how long a camera is waited for: one that is asked to play, one that was away.

Memory: one process opens simulated cameras, reads a few pictures and hangs up, a thousand times, over TCP and UDP; and
asks at a port where nobody is. The slope of its resident memory is the result, and its standard error beside it; as many
attempts before that are not counted, because memory settles first. Then `--dead-minutes` of the product's own readers, with
its own pauses, at cameras that refuse, say nothing or answer 401: the slope is bytes an hour. Time: from the first byte sent
to the first decoded picture, in groups of pictures; and from when a camera is back that was away for one, five and ten minutes until
its answer to PLAY (30 s at most are asked). The last line is one JSON object.
"""

import argparse
import contextlib
import json
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from footage import Footage, quiet_clip

READER = Path(__file__).resolve().parent / "readers" / "reconnecting.py"
WAITING = READER.with_name("waiting.py")
READINGS = 40
FIRST_PICTURES = 64
GOP_S = 2.0
AWAY = ("refuse", "stall")  # the simulator's names: connections are refused, or taken and not answered
AWAY_S = (60, 300, 600)
AWAY_EACH = 24  # cameras of each of these outages
REAL_S = 60.0  # of every outage the last minute passes on the wall clock
BACK_WITHIN_S = 120.0
POLL_S = 0.1
LISTEN = "0A"  # of the state in /proc/net/tcp, tcp(7)
DEAD = ("refuse", "stall", "unauthorized")  # the simulator's names
DEAD_CAMERAS = 50
SAMPLE_S = 15.0
SETTLE_S = 300.0  # at most, and a fifth of the time: memory settles first
LEAST_MINUTES = 2.0  # a line needs points
HOUR_S = 3600.0


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
def broken(folder: Path, faults: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Serve a small clip as cameras with a port each, which have these faults; yields what the simulator tells."""
    clip = quiet_clip(folder / "broken.mp4", Footage(seconds=4, size=(320, 180), bit_rate=100_000))
    simulate = (
        "-m",
        "gridwatch.app.cli",
        "simulate",
        str(clip),
        "--cameras",
        str(len(faults)),
        "--own-ports",
    )
    child = Child(*simulate, "--port", "0", "--with-parent")
    try:
        city = child.read()
        for camera, fault in zip(city["cameras"], faults, strict=True):
            switch(city, camera["name"], fault, on=True)
        yield city
    finally:
        child.close()


def switch(city: dict[str, Any], camera: str, fault: str, *, on: bool) -> None:
    """Switch a fault of the simulator's."""
    with socket.create_connection(("127.0.0.1", city["control"]), 10) as line:
        order = {"ask": "fault", "camera": camera, "fault": fault, "on": on}
        line.sendall(json.dumps(order).encode() + b"\n")
        answer = json.loads(line.makefile().readline())
    if "error" in answer:
        raise RuntimeError(answer["error"])


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


def note_back(back: dict[str, float], urls: Sequence[str]) -> None:
    """Note when each of these cameras' ports listens; one that was closed may be another connection's for a minute."""
    now = time.monotonic()
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    ports = {int(row[1].partition(":")[2], 16) for row in rows if row[3] == LISTEN}
    for url in urls:
        if urlsplit(url).port in ports:
            back.setdefault(url, now)


def back_to_play_s(fault: str) -> dict[str, dict[str, float]]:
    """Return, by seconds of absence, how long cameras that are back wait for their answer to PLAY; all come back in one moment.

    While they are away they have `fault`; back they are when their port listens. Up to its last minute an outage passes
    at once; its pauses are the back-off's own.
    """
    away_s = [float(seconds) for seconds in AWAY_S for _ in range(AWAY_EACH)]
    with tempfile.TemporaryDirectory() as folder, broken(Path(folder), [fault] * len(away_s)) as city:
        urls, reader = [camera["url"] for camera in city["cameras"]], Child(str(WAITING))
        began = time.monotonic()
        reader.ask(do="watch", urls=urls, away_s=[seconds - REAL_S for seconds in away_s], seed=1)
        time.sleep(max(0.0, began + REAL_S - time.monotonic()))
        back: dict[str, float] = {}
        opened: list[float | None] = [None]
        for number, camera in enumerate(city["cameras"]):
            switch(city, camera["name"], fault, on=False)
            note_back(back, urls[: number + 1])
        until = time.monotonic() + BACK_WITHIN_S
        while None in opened and time.monotonic() < until:
            time.sleep(POLL_S)
            note_back(back, urls)
            opened = reader.ask(do="tell")["opened_mono_s"]
        reader.ask(do="stop")
        reader.close()
    result = {}
    for seconds in AWAY_S:
        of_it = [number for number, away in enumerate(away_s) if away == seconds]
        never = sum(opened[number] is None for number in of_it)
        waited = np.array(
            [at - back[urls[number]] for number in of_it if (at := opened[number]) is not None]
        ).clip(0)
        result[str(seconds)] = {f"p{of}": round(float(np.percentile(waited, of)), 1) for of in (50, 95)} | {
            "max": round(float(waited.max()), 1),
            "cameras": len(of_it),
            "never": never,
        }
    return result


def dead_slope(minutes: float) -> dict[str, Any]:
    """Return what memory grows by in an hour at cameras of which none can be had, by least squares; bytes."""
    faults = [DEAD[number % len(DEAD)] for number in range(DEAD_CAMERAS)]
    readings = []
    with tempfile.TemporaryDirectory() as folder, broken(Path(folder), faults) as city:
        urls, reader = [camera["url"] for camera in city["cameras"]], Child(str(WAITING))
        reader.ask(do="watch", urls=urls, away_s=[0.0] * len(urls), seed=2)
        began = time.monotonic()
        while (at_s := time.monotonic() - began) < minutes * 60:
            told = reader.ask(do="tell")
            readings.append((at_s / HOUR_S, told["rss_bytes"]))
            time.sleep(SAMPLE_S)
        reader.ask(do="stop")
        reader.close()
    settled_h = min(SETTLE_S, minutes * 60 / 5) / HOUR_S
    at_h, held = np.array([reading for reading in readings if reading[0] >= settled_h]).T
    (slope, _), covariance = np.polyfit(at_h, held, 1, cov=True)
    return {
        "bytes_per_hour": round(float(slope)),
        "standard_error": round(float(np.sqrt(covariance[0, 0]))),
        "minutes": minutes,
        "cameras": len(faults),
        "tries": told["tries"],
        "failures": told["faults"],
        "opened": sum(at is not None for at in told["opened_mono_s"]),
        "readings": len(at_h),
        "rss_mib": [
            round(float(each) / (1 << 20), 2) for each in (held[0], held.min(), held.max(), held[-1])
        ],
    }


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
    parser.add_argument("--dead-minutes", type=float, default=10.0, help="of cameras that cannot be had")
    parser.add_argument("--only-dead", action="store_true", help="measure nothing else")
    given, result = parser.parse_args(), dict[str, Any]()
    if not given.only_dead:
        with tempfile.TemporaryDirectory() as folder:
            spec = Footage(seconds=8, size=(640, 360), gop_s=GOP_S, bit_rate=500_000)
            result = measure(quiet_clip(Path(folder) / "long.mp4", spec), max(READINGS, given.tries))
        result["back_to_play_s"] = {fault: back_to_play_s(fault) for fault in AWAY}
    result["dead_cameras"] = dead = dead_slope(max(LEAST_MINUTES, given.dead_minutes))
    print(json.dumps(result | {"dead_rss_slope_bytes_per_hour": dead["bytes_per_hour"]}))


if __name__ == "__main__":
    main()
