# SPDX-License-Identifier: AGPL-3.0-or-later
"""Under which looks zones are watched, and for how long they were observed. It judges nothing."""

from dataclasses import replace
from typing import Self

from detectors.claims import Moment
from gridwatch.core.geometry import WHOLE_PICTURE
from gridwatch.core.look import Look
from gridwatch.core.schedule import Schedule
from gridwatch.core.zone import Zone


class Watching:
    """One sort of zones: drawn or over the whole picture, with one schedule or none.

    Drawn zones are watched under looks of the picture that they were drawn on: a camera that is away from it shows
    something else there. Zones with a schedule are watched while it includes a look's time. Other looks are no evidence
    either way, and the zones' time stands still.

    Attributes:
        observed_s: seconds under observation so far.
        moment: the last answered look, if they were watched under it, in their own observed time.
        sees: whether they were.
        began, ended: their schedule began, or ended, between the look before and this one.
    """

    __slots__ = ("_is_active", "active", "began", "drawn", "ended", "moment", "observed_s", "sees")

    def __init__(self, *, drawn: bool, active: Schedule | None) -> None:
        self.drawn, self.active = drawn, active
        self.observed_s = 0.0
        self.moment: Moment | None = None
        self.sees = self._is_active = True
        self.began = self.ended = False

    @classmethod
    def of(cls, zone: Zone) -> Self:
        """Return the sort that a zone is of."""
        return cls(drawn=zone.polygon != WHOLE_PICTURE, active=zone.active)

    def step(self, look: Look, moment: Moment, stepped_s: float) -> None:
        """Take an answered look.

        Args:
            look: newer than the one before.
            moment: its time, whatever observed.
            stepped_s: observed seconds since the look before it.
        """
        is_active = self.active is None or self.active.includes(look.captured_at)
        sees = is_active and (look.at_home or not self.drawn)
        if sees and self.sees:
            self.observed_s += stepped_s
        self.began = is_active and not self._is_active
        self.ended = self._is_active and not is_active
        self.sees, self._is_active = sees, is_active
        self.moment = replace(moment, observed_s=self.observed_s) if sees else None
