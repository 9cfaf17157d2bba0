# SPDX-License-Identifier: AGPL-3.0-or-later
"""Time is passed in: wall time for records, monotonic time for decisions."""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What tells the time; a step of `now` changes no decision, because decisions use `mono_s`."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        ...

    def mono_s(self) -> float:
        """Return monotonic seconds from an arbitrary origin."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """Return the wall time, aware, in UTC."""
        return datetime.now(UTC)

    def mono_s(self) -> float:
        """Return seconds of CLOCK_MONOTONIC."""
        return time.monotonic()


class ManualClock:
    """A clock that stands still until told: media time in lockstep, and time in tests."""

    def __init__(self, start: datetime, mono_s: float = 0.0) -> None:
        self._origin = start - timedelta(seconds=mono_s)
        self._mono_s = mono_s

    def now(self) -> datetime:
        """Return the start plus all that was advanced, in UTC."""
        return self._origin + timedelta(seconds=self._mono_s)

    def mono_s(self) -> float:
        """Return the seconds advanced so far."""
        return self._mono_s

    def advance_to(self, mono_s: float) -> None:
        """Move on to `mono_s`; an earlier time is ignored, because this clock never goes back."""
        self._mono_s = max(self._mono_s, mono_s)

    def advance(self, seconds: float) -> None:
        """Move on by `seconds` (≥ 0)."""
        self.advance_to(self._mono_s + seconds)
