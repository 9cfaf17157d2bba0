# SPDX-License-Identifier: AGPL-3.0-or-later
"""Calls into native code that may never return, made for somebody who cannot wait for ever. Not a pool: they are rare."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from models.errors import InferenceError

T = TypeVar("T")


class _Call(Generic[T]):
    """One call, its result or what it raised."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work, self.ended = work, threading.Event()
        self._result: list[T] = []
        self._error: Exception | None = None

    def run(self) -> None:
        try:
            self._result.append(self._work())
        except Exception as error:  # noqa: BLE001  raised again where it is waited for
            self._error = error
        self.ended.set()

    def result(self) -> T:
        if self._error is not None:
            raise self._error
        return self._result[0]


class BoundedCalls:
    """Makes each call on a thread of its own, and leaves that behind when it does not return in time.

    Args:
        most_left_behind: with so many that have not come back no further call is made.
    """

    def __init__(self, most_left_behind: int) -> None:
        self._most = most_left_behind
        self._lock = threading.Lock()
        self._left: dict[threading.Event, object] = {}  # the end that did not come, and whose it is

    def call(self, owner: object, work: Callable[[], T], within_s: float) -> T:
        """Return what `work` returns, or raise what it raises.

        Args:
            owner: whose call it is. While one of the same owner has not come back, no further one is made.
            work: called on another thread.
            within_s: wall-clock seconds.

        Raises:
            InferenceError: it did not return in time, or was not made.
        """
        with self._lock:
            if len(self._left) >= self._most or self._hang(owner):
                raise InferenceError("an earlier question has not come back")
        call = _Call(work)

        def run() -> None:
            call.run()
            with self._lock:
                self._left.pop(call.ended, None)

        threading.Thread(target=run, name="look-once", daemon=True).start()
        if not call.ended.wait(within_s):
            with self._lock:
                if not call.ended.is_set():
                    self._left[call.ended] = owner
                    raise InferenceError(f"it did not come back within {within_s:g} s")
        return call.result()

    def hang(self, owner: object) -> bool:
        """Tell whether a call of this owner has not come back, though nobody waits for it any more."""
        with self._lock:
            return self._hang(owner)

    def owners(self) -> list[object]:
        """Return whose calls have not come back, each once for every call."""
        with self._lock:
            return list(self._left.values())

    def _hang(self, owner: object) -> bool:
        return any(one is owner for one in self._left.values())
