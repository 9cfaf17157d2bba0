# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether a camera's pictures come too slowly. Not whether any come: that is `ingest.sight`."""

from collections import deque


class Pace:
    """Whether pictures come too slowly: against the camera's own usual, and against what its stream promises.

    Cameras promise what they do not keep (25 a second, and send 20), so a promise weighs less than the habit. What is
    enough for everything that is looked for here is never slow.
    """

    __slots__ = ("_straddles", "_usual", "slow")

    _ENOUGH_PER_S = 8.0
    _OF_USUAL, _OF_PROMISED, _AGAIN = 0.5, 0.25, 1.2

    def __init__(self) -> None:
        self._usual: deque[float] = deque(maxlen=32)
        self.slow = self._straddles = False

    def forget(self) -> None:
        """Say that the stream was away until now: what was measured last, and is measured now, is about that."""
        self.slow, self._straddles = False, True

    def add(self, pictures_per_s: float, promised_per_s: float | None) -> None:
        """Take one measurement."""
        if self._straddles:
            self._straddles = False
            return
        usual = sorted(self._usual)[len(self._usual) // 2] if self._usual else 0.0
        least = max(self._OF_USUAL * usual, self._OF_PROMISED * (promised_per_s or 0.0))
        least = min(self._ENOUGH_PER_S, least) * (self._AGAIN if self.slow else 1.0)
        self.slow = pictures_per_s < least
        if not self.slow:
            self._usual.append(pictures_per_s)
