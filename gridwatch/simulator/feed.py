# SPDX-License-Identifier: AGPL-3.0-or-later
"""Where a camera's coded pictures come from, and the thread that makes them ahead of their time."""

import math
import threading
from collections import deque
from typing import Protocol

import structlog

from gridwatch.simulator.rtsp.media import AccessUnit, VideoMedia
from gridwatch.simulator.timeline import Timeline
from gridwatch.simulator.variants import Value

_RETRY_S = 1.0
_SHORTEST_WAIT_S = 0.01
_AFTER_S = 0.001


class Feed(Protocol):
    """One camera's stream on the timeline. Used by one thread at a time, but for `show`; every other call may block.

    Attributes:
        ahead_s: how far ahead of their time units are made.
        refill_s: making goes on when less than this is in stock (equal to `ahead_s`: steadily; less: in batches).
        skipped: pictures left out because making them fell behind.
    """

    ahead_s: float
    refill_s: float
    skipped: int

    @property
    def showing(self) -> str | None:
        """The variant that is in the stream (variants.py); None where it is as it should be."""
        ...

    def show(self, name: str | None, **values: Value) -> None:
        """Send a variant from one of the next groups of pictures on, when it is ready; None: as it should be again.

        Returns at once; may be called from any thread.

        Raises:
            InputError: there is no such variant here, or a value is not its.
        """
        ...

    def open(self, start_s: float) -> VideoMedia:
        """Begin with the first unit due at or after `start_s`; may be called again after `close`.

        Raises:
            InputError: it can never be served.
            FeedError: it cannot be opened now.
        """
        ...

    def next_unit(self, now_s: float) -> AccessUnit:
        """Return the next unit, in order of `due_s`; what is long past at `now_s` is skipped and counted.

        Raises:
            FeedError: it broke; `close`, then `open` again.
        """
        ...

    def close(self) -> None:
        """Let go of files and coders."""
        ...


class Ahead:
    """A feed's worker thread and the bounded stock of units between it and the one who sends them."""

    MAX_UNITS = 1_024

    def __init__(self, name: str, feed: Feed, timeline: Timeline) -> None:
        self.feed = feed
        self._timeline = timeline
        self._stock: deque[AccessUnit] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"feed-{name}", daemon=True)
        self._log = structlog.get_logger().bind(camera=name)
        self._last_due_s = -math.inf
        self.failures = 0

    def start(self) -> None:
        """Start making units of a feed that is open."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; `join` waits for it."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread to have closed its feed; close a feed whose thread never started."""
        if self._thread.ident is None:
            self.feed.close()
        else:
            self._thread.join(timeout_s)

    def peek(self) -> AccessUnit | None:
        """Return the unit that is due next; None while none is made."""
        return self._stock[0] if self._stock else None

    def pop(self) -> AccessUnit:
        """Take the unit that `peek` showed."""
        return self._stock.popleft()

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._make_or_recover()
        finally:
            self.feed.close()

    def _make_or_recover(self) -> None:
        try:
            self._fill()
        except Exception as exc:  # noqa: BLE001  the thread's top loop: one broken camera must not end for ever
            self.failures += 1
            self._log.warning("feed_failed", reason=f"{type(exc).__name__}: {exc}", failures=self.failures)
            self._stop.wait(_RETRY_S)
            self._reopen()

    def _reopen(self) -> None:
        self.feed.close()
        try:
            self.feed.open(max(self._timeline.now_s(), self._last_due_s + _AFTER_S))
        except Exception as exc:  # noqa: BLE001  as above; tried again by the loop, which fails until it opens
            self._log.warning("feed_not_opened", reason=f"{type(exc).__name__}: {exc}")

    def _fill(self) -> None:
        feed = self.feed
        while (
            not self._stop.is_set()
            and self._in_stock_s() < feed.ahead_s
            and len(self._stock) < self.MAX_UNITS
        ):
            unit = feed.next_unit(self._timeline.now_s())
            if unit.due_s > self._last_due_s:  # a feed that was opened again may repeat what is in stock
                self._last_due_s = unit.due_s
                self._stock.append(unit)
        self._stop.wait(max(_SHORTEST_WAIT_S, self._in_stock_s() - feed.refill_s))

    def _in_stock_s(self) -> float:
        return self._last_due_s - self._timeline.now_s()
