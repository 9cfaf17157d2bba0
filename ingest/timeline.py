# SPDX-License-Identifier: AGPL-3.0-or-later
"""Maps a stream's own times to ours: monotonic arrival, freed of the network's jitter. Pure; the clock is passed in.

The true delay between capture and arrival is never less than the smallest one seen, so the smallest recent
`arrival − pts` places pts on our clock. A packet that was held up on its way still gets the time at which it was
captured, and packets that come in a burst keep their distances. The camera's idea of the time of day is not used.
"""

from collections import deque
from datetime import datetime, timedelta

from gridwatch.core.clock import Clock

_BUCKET_S = 10.0
_BUCKETS = 6


class PtsTimeline:
    """Monotonic time of a stream's packets.

    What it returns is never later than the arrival, and never falls while pts rises: a smaller offset is only ever
    brought by a packet that is placed at its own arrival. The offset is the smallest of the last minute, so that a
    camera whose clock runs slow is followed.

    Args:
        clock: tells arrival.
        jump_s: pts that steps back by more than this is a new time line, not a reordered picture.
        lag_s: no packet is held to be older than this at its arrival: a camera whose times fall behind without end
            (it says 25 pictures a second and sends 20) is anchored anew.
    """

    def __init__(self, clock: Clock, jump_s: float = 3.0, lag_s: float = 10.0) -> None:
        self._clock, self._jump_s, self._lag_s = clock, jump_s, lag_s
        self.anchored = 0
        self._offsets: deque[tuple[float, float]] = deque(maxlen=_BUCKETS)  # (began, smallest offset)
        self._pts_s = float("-inf")

    def reset(self) -> None:
        """Forget the stream: it was opened anew."""
        self._offsets.clear()
        self._pts_s = float("-inf")

    def place(self, pts_s: float | None) -> tuple[float, datetime]:
        """Return (monotonic seconds, wall time UTC) of the capture of a packet that arrives now."""
        arrival = self._clock.mono_s()
        at = arrival if pts_s is None else self._map(pts_s, arrival)
        return at, self._clock.now() - timedelta(seconds=arrival - at)

    def _map(self, pts_s: float, arrival: float) -> float:
        behind = arrival - pts_s - self._smallest() > self._lag_s
        if not self._offsets or pts_s < self._pts_s - self._jump_s or behind:
            self._offsets.clear()
            self.anchored += 1
        self._remember(arrival - pts_s, arrival)
        self._pts_s = pts_s
        return pts_s + self._smallest()

    def _smallest(self) -> float:
        return min((offset for _, offset in self._offsets), default=float("inf"))

    def _remember(self, offset: float, arrival: float) -> None:
        if not self._offsets or arrival - self._offsets[-1][0] >= _BUCKET_S:
            self._offsets.append((arrival, offset))
        else:
            began, smallest = self._offsets[-1]
            self._offsets[-1] = (began, min(smallest, offset))
