# SPDX-License-Identifier: AGPL-3.0-or-later
"""One reader of the journal for all listeners: streams and consoles.

Not a queue of record: a listener that was away, or was dropped because it was too slow, reads the journal itself
from the last row that it knows. So nothing is kept here for long and every queue is bounded.
"""

import asyncio
import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

import structlog

from api.errors import ListenerOverflow, TooManyListeners
from api.metrics import ApiMetrics
from events.errors import StoreError
from events.journal import Row
from events.reading import AlertReader
from gridwatch.core.redact import redact

POLL_S: Final = 0.2
PAGE_ROWS: Final = 200
QUEUE_ROWS: Final = 256
MAX_LISTENERS: Final = 256
_LONGEST_PAUSE_S: Final = 5.0


class Listener:
    """One listener's bounded queue, filled by the reader's thread and emptied on an event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, since: int, limit: int) -> None:
        self.since = since
        self._loop, self._limit = loop, limit
        self._rows: deque[Row] = deque()
        self._arrived = asyncio.Event()
        self._overflowed = self._closed = False

    def offer(self, rows: Sequence[Row]) -> bool:
        """Queue rows (any thread); return False when this listener is to be dropped."""
        if len(self._rows) + len(rows) > self._limit:
            self._overflowed = True
        else:
            self._rows.extend(rows)
        return self._wake() and not self._overflowed

    def close(self) -> None:
        """Let `take` return None from now on (any thread)."""
        self._closed = True
        self._wake()

    async def take(self, timeout_s: float) -> list[Row] | None:
        """Return what has arrived: an empty list after `timeout_s` without a row, None once closed.

        Raises:
            ListenerOverflow: rows were lost; load the lists again.
        """
        try:
            await asyncio.wait_for(self._arrived.wait(), timeout_s)
        except TimeoutError:
            return []
        self._arrived.clear()
        if self._closed:
            return None
        if self._overflowed:
            raise ListenerOverflow(f"more than {self._limit} changes behind")
        return [self._rows.popleft() for _ in range(len(self._rows))]

    def _wake(self) -> bool:
        try:
            self._loop.call_soon_threadsafe(self._arrived.set)
        except RuntimeError:  # its loop has ended
            return False
        return True


class JournalFeed:
    """Reads the journal on a thread of its own and hands each row to every listener."""

    def __init__(self, alerts: AlertReader, metrics: ApiMetrics, *, queue_rows: int = QUEUE_ROWS) -> None:
        self._alerts, self._metrics, self._queue_rows = alerts, metrics, queue_rows
        self._listeners: set[Listener] = set()
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._position: int | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Find the journal's end if the store answers, then read on in the background."""
        self._stop.clear()
        self._step_safely()
        self._thread = threading.Thread(target=self._run, name="journal-feed", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop reading and let every listener go."""
        self._stop.set()
        with self._lock:
            leaving, self._listeners = self._listeners, set()
        for listener in leaving:
            listener.close()
        if self._thread is not None:
            self._thread.join(timeout=_LONGEST_PAUSE_S)
            self._thread = None

    def listen(self) -> Listener:
        """Return a listener of all rows after its `since`; call it on the event loop that will take from it.

        Raises:
            StoreError: the journal's end is not known yet.
            TooManyListeners: no more are taken.
        """
        with self._lock:
            if self._position is None or self._stop.is_set():
                raise StoreError("the journal is not being read")
            if len(self._listeners) >= MAX_LISTENERS:
                raise TooManyListeners(f"{MAX_LISTENERS} listeners are the most that are served")
            listener = Listener(asyncio.get_running_loop(), self._position, self._queue_rows)
            self._listeners.add(listener)
            self._metrics.listeners.set(len(self._listeners))
            return listener

    def leave(self, listener: Listener) -> None:
        """Forget a listener; one that is gone already is no error."""
        with self._lock:
            self._listeners.discard(listener)
            self._metrics.listeners.set(len(self._listeners))

    def _run(self) -> None:
        pause_s = POLL_S
        while not self._stop.wait(pause_s):
            pause_s = POLL_S if self._step_safely() else min(pause_s * 2, _LONGEST_PAUSE_S)

    def _step_safely(self) -> bool:
        try:
            while self._step() == PAGE_ROWS and not self._stop.is_set():
                pass
        except Exception as error:  # noqa: BLE001  the thread's top loop: the reader outlives any fault of the store
            self._metrics.feed_failures.inc()
            structlog.get_logger("api").warning("journal_feed_failed", error=redact(repr(error)))
            return False
        return True

    def _step(self) -> int:
        if self._position is None:
            last = self._alerts.last_seq()
            with self._lock:
                self._position = last
            return 0
        rows = self._alerts.rows_after(self._position, PAGE_ROWS)
        if rows:
            self._hand_out(rows)
        return len(rows)

    def _hand_out(self, rows: Sequence[Row]) -> None:
        with self._lock:
            self._position = rows[-1].seq
            slow = {listener for listener in self._listeners if not listener.offer(rows)}
            self._listeners -= slow
            self._metrics.listeners.set(len(self._listeners))
        self._metrics.listeners_dropped.inc(len(slow))
