# SPDX-License-Identifier: AGPL-3.0-or-later
"""One slot per camera: the newest wins, the longest waiting camera is served first, what was replaced is counted."""

import threading
import time
from collections import OrderedDict
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """Slots between two stages. A camera that is behind loses its stale item and never delays another.

    Fair: cameras are served in the order in which they began to wait. In order: a camera whose item was taken
    is served again only after `done`, so two workers never hold the same camera. Bounded by the number of keys.
    """

    def __init__(self) -> None:
        self._slots: OrderedDict[str, T] = OrderedDict()
        self._busy: dict[str, float] = {}  # key: when it was taken, monotonic seconds
        self._ready = threading.Condition()
        self._closed = False
        self.replaced = 0

    def __len__(self) -> int:
        return len(self._slots)

    def put(self, key: str, item: T) -> bool:
        """Put `item` into the slot of `key`; return True if it replaced one that nobody had taken."""
        with self._ready:
            stale = key in self._slots
            self._slots[key] = item  # a replaced item keeps its place in the line
            self.replaced += stale
            self._ready.notify()
            return stale

    def take(self, timeout_s: float | None = None) -> tuple[str, T] | None:
        """Return the item that waits longest and mark its key busy; None on time-out or after `close`."""
        with self._ready:
            self._ready.wait_for(lambda: self._closed or self._free() is not None, timeout_s)
            key = self._free()
            if key is None:
                return None
            self._busy[key] = time.monotonic()
            return key, self._slots.pop(key)

    def done(self, key: str) -> None:
        """Say that the item taken for `key` is dealt with; its next one may be taken."""
        with self._ready:
            self._busy.pop(key, None)
            self._ready.notify()

    def is_idle(self) -> bool:
        """Tell whether nothing waits and nothing is in work."""
        with self._ready:
            return not self._slots and not self._busy

    def longest_in_work_s(self) -> float:
        """Return for how long the oldest item that was taken has been in work; 0 where none is."""
        with self._ready:
            return time.monotonic() - min(self._busy.values()) if self._busy else 0.0

    def drop(self, key: str) -> None:
        """Empty the slot of `key`."""
        with self._ready:
            self._slots.pop(key, None)

    def close(self) -> None:
        """Let every waiting `take` return None; items left are dropped."""
        with self._ready:
            self._closed = True
            self._slots.clear()
            self._ready.notify_all()

    def _free(self) -> str | None:
        return next((key for key in self._slots if key not in self._busy), None)
