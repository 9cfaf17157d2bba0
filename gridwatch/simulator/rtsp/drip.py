# SPDX-License-Identifier: AGPL-3.0-or-later
"""A line on which bytes come one by one, long moments apart."""

import asyncio
from collections.abc import Callable


class Drip:
    """Writes what it is given a byte at a time; once that is not wanted any more, all that is left at once.

    Args:
        write: takes bytes.
        every_s: asked before each byte: the seconds until the next one; 0 lets go of everything.
    """

    MAX_BYTES = 64 * 1024

    def __init__(self, write: Callable[[bytes], object], every_s: Callable[[], float]) -> None:
        self._write, self._every_s = write, every_s
        self._left = bytearray()
        self._timer: asyncio.TimerHandle | None = None

    @property
    def is_dry(self) -> bool:
        """True where nothing waits."""
        return not self._left

    def put(self, data: bytes) -> None:
        """Add `data`, or leave it out as a whole where too much waits already."""
        if len(self._left) + len(data) <= self.MAX_BYTES:
            self._left += data
        if self._timer is None:
            self._fall()

    def stop(self) -> None:
        """Write nothing more."""
        self._left.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _fall(self) -> None:
        self._timer = None
        every_s = self._every_s()
        count = 1 if every_s else len(self._left)
        piece = bytes(self._left[:count])
        del self._left[:count]
        self._write(piece)
        if self._left:
            self._timer = asyncio.get_running_loop().call_later(every_s, self._fall)
