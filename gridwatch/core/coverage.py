# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long one camera saw on one day: counted where it is watched, kept in the store, shown by the API."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraDay:
    """Seconds of one camera and local day, by what its sight was; they add up to the time that was watched over.

    Handed from the counter to the store it holds what came since the last handing over, less than nothing where time is taken
    back that is counted as something else now; read from the store, the sum.

    Attributes:
        day: in the time zone that the counter was given.
        elsewhere_s: of a dome away from its home picture; not part of `degraded_s`.
        looked_at_s: within those seconds, how long the last answered look was no older than the camera's cadence.
    """

    camera_id: str
    day: date
    seeing_s: float = 0.0
    degraded_s: float = 0.0
    blind_s: float = 0.0
    off_s: float = 0.0
    maintenance_s: float = 0.0
    elsewhere_s: float = 0.0
    looked_at_s: float = 0.0

    @property
    def wanted_s(self) -> float:
        """For how long somebody wanted it to see: all but off and maintenance."""
        return self.seeing_s + self.degraded_s + self.blind_s + self.elsewhere_s

    @property
    def looked_at_share(self) -> float | None:
        """The share of that time in which it was looked at within its cadence; None where nobody wanted it to see."""
        return min(1.0, self.looked_at_s / self.wanted_s) if self.wanted_s > 0 else None
