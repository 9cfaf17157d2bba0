# SPDX-License-Identifier: AGPL-3.0-or-later
"""Opens cameras and hangs up again, by orders of one JSON object a line on standard input; reconnects.py counts.

`{"do": "look", "urls": [...], "transport": "tcp", "tries": 25}` opens and reads a few pictures, by a few threads;
`{"do": "first", "urls": [...], "tries": 48}` waits for the first decoded picture. Each is answered by one object:
resident memory, what failed, and the seconds waited.
"""

import gc
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from gridwatch.core.camera import Transport
from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from ingest.decoder import KeyDecoder
from ingest.errors import SourceError
from ingest.rtsp import RtspOptions, RtspSource

THREADS = 8
PICTURES = 3
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Work:
    """Attempts, shared by a few threads."""

    def __init__(self, threads: ThreadPoolExecutor, order: dict[str, Any]) -> None:
        self._threads, self._urls = threads, order["urls"]
        self._options = RtspOptions(transport=Transport(order.get("transport", "tcp")))
        self._attempt = {"look": self._look, "first": self._first}[order["do"]]

    def run(self, tries: int) -> tuple[list[float], int]:
        """Make `tries` attempts; return the seconds that each took, and how many failed."""
        done = list(self._threads.map(self._one, range(tries)))
        return [took_s for took_s, _ in done], sum(failed for _, failed in done)

    def _one(self, number: int) -> tuple[float, bool]:
        url, began, failed = self._urls[number % len(self._urls)], time.monotonic(), False
        try:
            with RtspSource("bench", SecretUrl(url), SystemClock(), self._options) as source:
                self._attempt(source)
        except SourceError:
            failed = True
        return time.monotonic() - began, failed

    def _look(self, source: RtspSource) -> None:
        for number, _ in enumerate(source.packets()):
            if number == PICTURES:
                return

    def _first(self, source: RtspSource) -> None:
        KeyDecoder().decode(next(packet for packet in source.packets() if packet.is_key))


def main() -> None:
    """Do what is ordered until standard input ends."""
    with ThreadPoolExecutor(THREADS) as threads:
        for line in sys.stdin:
            order = json.loads(line)
            waited_s, failed = Work(threads, order).run(order["tries"])
            gc.collect()
            rss_bytes = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
            print(json.dumps({"rss_bytes": rss_bytes, "failed": failed, "waited_s": waited_s}), flush=True)


if __name__ == "__main__":
    main()
