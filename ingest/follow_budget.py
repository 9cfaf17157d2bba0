# SPDX-License-Identifier: AGPL-3.0-or-later
"""How many cameras are decoded picture by picture at the same time, and which. Decodes nothing; time is passed in."""

import threading
from dataclasses import dataclass

from gridwatch.core.look import Interest

LEASE_S = 15.0


@dataclass(slots=True)
class _Place:
    interest: Interest
    until_mono_s: float


class FollowBudget:
    """Who may be followed: open claims first, then what may become one, then what merely changed. Safe for threads.

    One object for all cameras of a machine. A place that is not renewed for 15 s is anybody's: the stream of its camera may
    be gone.

    Args:
        at_most: cameras followed at the same time; 0: none is, and no group in memory is decoded either.
        groups_per_s: groups of pictures in memory that are decoded in a second in the long run, all cameras together;
            `at_most` of them may come at once.

    Attributes:
        refused: how often a camera found no place, or lost it to one of higher interest.
        refused_groups: groups of pictures in memory that were not decoded, because so many had been.
    """

    def __init__(self, at_most: int, *, groups_per_s: float = 1.0) -> None:
        self._at_most, self._groups_per_s = at_most, groups_per_s
        self._places: dict[str, _Place] = {}
        self._lock = threading.Lock()
        self._groups, self._filled_mono_s = float(at_most), 0.0
        self.refused = self.refused_groups = 0

    @property
    def following(self) -> int:
        """How many cameras hold a place."""
        return len(self._places)

    def ask(self, camera_id: str, interest: Interest, now_mono_s: float) -> bool:
        """Take a place or renew it; return whether the camera has one. A higher interest takes a lower one's place."""
        with self._lock:
            if camera_id not in self._places and not self._make_room(interest, now_mono_s):
                self.refused += 1
                return False
            self._places[camera_id] = _Place(interest, now_mono_s + LEASE_S)
            return True

    def holds(self, camera_id: str) -> bool:
        """Tell whether a camera still has its place."""
        return camera_id in self._places

    def leave(self, camera_id: str) -> None:
        """Give the place back."""
        with self._lock:
            self._places.pop(camera_id, None)

    def may_decode_group(self, now_mono_s: float) -> bool:
        """Tell whether a group of pictures in memory may be decoded now; if so, it counts."""
        with self._lock:
            gained = max(0.0, now_mono_s - self._filled_mono_s) * self._groups_per_s
            self._groups = min(float(self._at_most), self._groups + gained)
            self._filled_mono_s = now_mono_s
            if self._groups < 1.0:
                self.refused_groups += 1
                return False
            self._groups -= 1.0
            return True

    def _make_room(self, interest: Interest, now_mono_s: float) -> bool:
        for camera_id in [name for name, place in self._places.items() if place.until_mono_s < now_mono_s]:
            del self._places[camera_id]
        if len(self._places) < self._at_most:
            return True
        lowest = min(self._places, key=lambda name: self._places[name].interest, default=None)
        if lowest is None or self._places[lowest].interest >= interest:
            return False
        del self._places[lowest]
        self.refused += 1
        return True
