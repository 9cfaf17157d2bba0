# SPDX-License-Identifier: AGPL-3.0-or-later
"""Maps a stream's own times to ours: monotonic arrival, freed of the network's jitter. Pure; the clock is passed in.

The true delay between capture and arrival is never less than the smallest one seen, so the smallest recent
`arrival − pts` places pts on our clock. A packet that was held up on its way still gets the time at which it was
captured, and packets that come in a burst keep their distances.

The camera's idea of the time of day decides nothing. Its difference to ours is measured, and where it is small enough
to be believed, records carry the camera's: then what several cameras saw has one order, however long it travelled.
"""

import statistics
from collections import deque
from datetime import datetime, timedelta

from gridwatch.core.clock import Clock

_BUCKET_S = 10.0
_BUCKETS = 6
_STANDS_S = 1.0
_STANDS_PACKETS = 8
_REPORTS = 9
_BELIEVED_S = 2.0


class PtsTimeline:
    """Monotonic time of a stream's packets.

    What it returns is never later than the arrival, and never falls while pts rises: a smaller offset is only ever
    brought by a packet that is placed at its own arrival. The offset is the smallest of the last minute, so that a
    camera whose clock runs slow is followed.

    Times that stand still while packets come (or step back a little) are not believed: such packets are placed at their
    arrival.

    Args:
        clock: tells arrival.
        jump_s: pts that steps back by more than this is a new time line, not a reordered picture.
        lag_s: no packet is held to be older than this at its arrival: a camera whose times fall behind without end
            (it says 25 pictures a second and sends 20) is anchored anew.
    """

    def __init__(self, clock: Clock, jump_s: float = 3.0, lag_s: float = 10.0) -> None:
        self._clock, self._jump_s, self._lag_s = clock, jump_s, lag_s
        self.anchored = 0
        self._bucket_ends = self._bucket_s = self._offset_s = 0.0
        self._past: deque[float] = deque(
            maxlen=_BUCKETS - 1
        )  # the smallest offsets of the buckets before this one
        self._reported: deque[float] = deque(maxlen=_REPORTS)
        self.reset()

    def reset(self) -> None:
        """Forget the stream: it was opened anew."""
        self._forget()
        self._pts_s = self._top_s = float("-inf")
        self._rose_mono_s, self._still = 0.0, 0
        self._reported.clear()
        self._shift_s = 0.0
        self._wall: tuple[float, datetime] | None = None

    @property
    def camera_ahead_s(self) -> float | None:
        """The camera's clock minus ours, the median of its last reports; None where it made none."""
        return statistics.median(self._reported) if self._reported else None

    def place(self, pts_s: float | None, camera_at: datetime | None = None) -> tuple[float, datetime]:
        """Return (monotonic seconds, wall time UTC) of the capture of a packet that arrives now.

        `camera_at`: the same by the camera's own clock, where it says so. It is reckoned from `pts_s`: where that stands
        still or steps back, it says nothing.
        """
        rises = pts_s is not None and pts_s > self._top_s
        at = self.at(pts_s)
        self._wall = wall_mono_s, wall = self._clock.mono_s(), self._clock.now()
        if camera_at is not None and rises:
            self._compare((camera_at - wall).total_seconds() - (at - wall_mono_s))
        return at, self.captured(at)

    def at(self, pts_s: float | None) -> float:
        """Return the monotonic time of the capture of a packet that arrives now, seconds."""
        arrival = self._clock.mono_s()
        if pts_s is None:
            return arrival
        offset = arrival - pts_s
        # The way of nearly every packet of every camera: later than the one before, and not quicker than the quickest.
        if (
            pts_s > self._top_s
            and self._offset_s <= offset <= self._offset_s + self._lag_s
            and arrival < self._bucket_ends
        ):
            self._top_s = self._pts_s = pts_s
            self._rose_mono_s, self._still = arrival, 0
            self._bucket_s = min(self._bucket_s, offset)
            return pts_s + self._offset_s
        return self._map(pts_s, arrival)

    def captured(self, at_mono_s: float) -> datetime:
        """Return the wall time of `at_mono_s`, by the wall clock as it was when a packet was last placed; UTC."""
        wall_mono_s, wall = self._wall or (self._clock.mono_s(), self._clock.now())
        return wall + timedelta(seconds=at_mono_s - wall_mono_s + self._shift_s)

    def _compare(self, ahead_s: float) -> None:
        self._reported.append(ahead_s)
        usual_s = statistics.median(self._reported)
        self._shift_s = usual_s if abs(usual_s) <= _BELIEVED_S else 0.0

    def _map(self, pts_s: float, arrival: float) -> float:
        behind = arrival - pts_s - self._offset_s > self._lag_s
        if pts_s < self._pts_s - self._jump_s or behind or self._stands(pts_s, arrival):
            self._forget()
            self._top_s = pts_s
        if self._bucket_ends == float("-inf"):
            self.anchored += 1
        self._remember(arrival - pts_s, arrival)
        self._pts_s = pts_s
        return pts_s + self._offset_s

    def _stands(self, pts_s: float, arrival: float) -> bool:
        if pts_s > self._top_s:
            self._top_s, self._rose_mono_s, self._still = pts_s, arrival, 0
            return False
        self._still += 1  # some are reordered pictures, and a few may come at once after a stall
        return self._still >= _STANDS_PACKETS and arrival - self._rose_mono_s > _STANDS_S

    def _forget(self) -> None:
        self._past.clear()
        self._bucket_s = self._offset_s = float("inf")
        self._bucket_ends = float("-inf")

    def _remember(self, offset: float, arrival: float) -> None:
        if arrival >= self._bucket_ends:
            self._past.append(self._bucket_s)
            self._bucket_s, self._bucket_ends = offset, arrival + _BUCKET_S
        self._bucket_s = min(self._bucket_s, offset)
        self._offset_s = min(self._bucket_s, *self._past)
