# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reads cameras that are away, by the product's own reader and pauses; by orders of one JSON object a line.

`{"do": "watch", "urls": [...], "away_s": [...], "seed": 1}` starts a reader for each URL, whose camera has been away
for so long already (the pauses of that time are taken from its back-off and not waited for); `{"do": "tell"}` asks how
they stand; `{"do": "stop"}` ends them. Each is answered by one object: resident memory, tries, failures by fault, and
when each camera's request to play was answered, on the machine's monotonic clock (null: not yet).
"""

import gc
import json
import logging
import os
import random
import sys
import threading
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import structlog

from gridwatch.app.camera_wiring import CameraWiring
from gridwatch.app.settings import IngestSettings
from gridwatch.core.camera import Camera, Fault
from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from ingest.admission import Way
from ingest.backoff import Backoff
from ingest.packets import Packet
from ingest.reader import StreamReader

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
STOP_WITHIN_S = 20.0


class Heard:
    """Notes what one reader tells, and lets its packets go."""

    def __init__(self, camera_id: str) -> None:
        self.camera_id = camera_id
        self.tries = 0
        self.opened_mono_s: float | None = None
        self.faults: Counter[str] = Counter()

    def connecting(self) -> None:
        """Count a try."""
        self.tries += 1

    def opened(self, *, second: bool) -> None:
        """Note when the camera answered; the first time is meant."""
        _ = second
        if self.opened_mono_s is None:
            self.opened_mono_s = time.monotonic()

    def waiting(self) -> None:
        """No recorder bounds sessions here."""

    def failed(self, reason: str, fault: Fault) -> None:
        """Count a failure."""
        _ = reason
        self.faults[fault.value] += 1

    def take(self, packet: Packet) -> None:
        """Let it go."""

    def rate(self, pictures_per_s: float, announced_per_s: float | None) -> None:
        """Nobody asks."""

    def busy(self) -> bool:
        """Nothing happens anywhere."""
        return False

    def comes_to_nothing(self) -> bool:
        """Nothing is decoded here."""
        return False

    def decoded_mono_s(self) -> float | None:
        """Nor is anything."""
        return None


def passed(rng: random.Random, away_s: float) -> tuple[Backoff, float]:
    """Return a back-off after `away_s` of failures, and how long its present pause lasts from then on, seconds."""
    backoff, now_s = Backoff(rng), 0.0
    while now_s < away_s:
        now_s += backoff.wait_s()
    return backoff, now_s - away_s


class Work:
    """The readers of one process. Each camera is a host of its own, so that none waits for another's connection."""

    def __init__(self) -> None:
        self._clock = SystemClock()
        # all that a wiring needs a network for is evidence, which nobody takes here
        self._wiring = CameraWiring(IngestSettings(), None, self._clock)  # type: ignore[arg-type]
        self._heard: list[Heard] = []
        self._readers: list[StreamReader] = []
        self._ending = threading.Event()

    def watch(self, order: dict[str, Any]) -> None:
        """Start the readers, each at the end of its present pause; then look after them every second."""
        rng, began_mono_s = random.Random(order["seed"]), time.monotonic()
        due: list[tuple[float, int]] = []
        for number, (url, away_s) in enumerate(zip(order["urls"], order["away_s"], strict=True)):
            backoff, left_s = passed(rng, away_s)
            camera = Camera(f"camera-{number}", "", SecretUrl(url))
            self._heard.append(Heard(camera.camera_id))
            self._readers.append(
                StreamReader(
                    self._heard[-1],
                    [partial(self._wiring.source, camera, camera.url)],
                    way=Way(camera.camera_id, camera.camera_id),
                    clock=self._clock,
                    backoff=backoff,
                    admission=self._wiring.admission,
                )
            )
            due.append((left_s, number))
        for left_s, number in sorted(due):
            time.sleep(max(0.0, began_mono_s + left_s - time.monotonic()))
            self._readers[number].start()
        threading.Thread(target=self._look_after, name="check", daemon=True).start()

    def stop(self, _order: dict[str, Any]) -> None:
        """End the readers."""
        self._ending.set()
        for reader in self._readers:
            reader.stop()
        until_s = time.monotonic() + STOP_WITHIN_S
        for reader in self._readers:
            reader.join(max(0.0, until_s - time.monotonic()))

    def tell(self) -> dict[str, Any]:
        """Return how things stand."""
        gc.collect()
        faults: Counter[str] = Counter()
        for heard in self._heard:
            faults.update(heard.faults)
        return {
            "rss_bytes": int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES,
            "tries": sum(heard.tries for heard in self._heard),
            "faults": faults,
            "opened_mono_s": [heard.opened_mono_s for heard in self._heard],
        }

    def _look_after(self) -> None:
        while not self._ending.wait(1.0):
            for reader in self._readers:
                reader.check()


def main() -> None:
    """Do what is ordered until standard input ends."""
    # standard output is for answers
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    work = Work()
    orders = {"watch": work.watch, "stop": work.stop}
    for line in sys.stdin:
        order = json.loads(line)
        if order["do"] in orders:
            orders[order["do"]](order)
        print(json.dumps(work.tell()), flush=True)


if __name__ == "__main__":
    main()
