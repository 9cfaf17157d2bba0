# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one time of a city: seconds since it began, the same for every camera and for the truth."""

from dataclasses import dataclass
from datetime import datetime

from gridwatch.core.clock import Clock


@dataclass(frozen=True, slots=True)
class Timeline:
    """Maps seconds on the timeline to monotonic and wall time; a step of the wall clock does not bend it.

    Attributes:
        origin_at: wall time of second 0, UTC.
    """

    clock: Clock
    origin_at: datetime
    origin_mono_s: float

    @classmethod
    def starting_now(cls, clock: Clock) -> "Timeline":
        """Return a timeline whose second 0 is now."""
        return cls(clock, clock.now(), clock.mono_s())

    def now_s(self) -> float:
        """Return the seconds since the city began."""
        return self.clock.mono_s() - self.origin_mono_s

    def unix_s(self, at_s: float) -> float:
        """Return the wall time of a second on the timeline, seconds since 1970."""
        return self.origin_at.timestamp() + at_s
