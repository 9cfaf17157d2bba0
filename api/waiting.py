# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many calls may wait for case messages at a time, so that they leave room for consoles and streams. Waits itself for nothing."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

SEATS: Final = 32
SEATS_EACH: Final = 4


class WaitingRoom:
    """Seats for calls that wait. Lives on one event loop."""

    def __init__(self, seats: int = SEATS, each: int = SEATS_EACH) -> None:
        self._seats, self._each = seats, each
        self._taken: Counter[str] = Counter()

    @contextmanager
    def seat(self, who: str) -> Iterator[bool]:
        """Yield whether `who` may wait; a seat that was had is given up at the end."""
        free = self._taken.total() < self._seats and self._taken[who] < self._each
        if not free:
            yield False
            return
        self._taken[who] += 1
        try:
            yield True
        finally:
            self._taken[who] -= 1
            self._taken += Counter()  # forgets who has none left
