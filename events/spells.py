# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long a trouble has stood, though it comes and goes. Pure: no store, no clock.

A line that keeps dropping never stands in its trouble for long: a camera counts as seeing for some ten seconds after its
last picture, and from each picture on. So the time of a trouble is added up over the last minutes.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from events.troubles import Trouble, TroubleRules

_STEP_MOST_S: Final = 10.0  # a trouble seen after a longer pause between two steps was not there all the time
_STRETCHES_MOST: Final = 64  # twice as many as steps of 5 s find in the time over which they are added up
_NEVER: Final = float("-inf")


@dataclass(slots=True)
class _Stretch:
    """A time through which a trouble stood. `began_at` is UTC; None where an alert that is over has told it."""

    from_mono_s: float
    until_mono_s: float
    began_at: datetime | None


def _no_stretches() -> deque[_Stretch]:
    return deque(maxlen=_STRETCHES_MOST)


@dataclass(slots=True)
class Spell:
    """A trouble as long as it stands, and for some minutes after. Times are monotonic seconds.

    Attributes:
        trouble: as it was seen last; it began when the first did of what counts of it.
        last_mono_s: when it was seen last.
        onset_mono_s: when it began: of one that is told, when that did which it was told for; of another, when it last did.
        alert_id: of the alert that tells it; None while there is none.
        hidden_mono_s: until when nobody could know whether it stands.
    """

    trouble: Trouble
    last_mono_s: float
    onset_mono_s: float
    alert_id: str | None = None
    hidden_mono_s: float = _NEVER
    _stretches: deque[_Stretch] = field(default_factory=_no_stretches, init=False)

    @property
    def stands_since_mono_s(self) -> float:
        """When it last began, told or not."""
        return self._stretches[-1].from_mono_s if self._stretches else self.last_mono_s

    @property
    def forgotten(self) -> bool:
        """Whether nothing of it counts any more, and no alert tells it."""
        return self.alert_id is None and not self._stretches

    def see(self, trouble: Trouble, now_mono_s: float, before_mono_s: float) -> bool:
        """Note that it stands now; return whether it says something else than before.

        Args:
            trouble: the same, as it is now.
            now_mono_s: of this step.
            before_mono_s: of the step before; `now_mono_s` where this is the first.
        """
        if self._stretches and self.last_mono_s == before_mono_s:
            stretch = self._stretches[-1]
            stretch.until_mono_s = now_mono_s
            if stretch.began_at is not None:
                stretch.began_at = min(stretch.began_at, trouble.began_at)
        else:
            from_mono_s = max(before_mono_s, now_mono_s - _STEP_MOST_S)
            self._stretches.append(_Stretch(from_mono_s, now_mono_s, trouble.began_at))
            if self.alert_id is None:
                self.onset_mono_s = from_mono_s
        self.last_mono_s = now_mono_s
        other = (self.trouble.fault, self.trouble.host) != (trouble.fault, trouble.host)
        self.trouble = replace(trouble, began_at=min((trouble.began_at, *self._known_onsets())))
        return other

    def stood_s(self, now_mono_s: float, within_s: float) -> float:
        """Return for how many of the last `within_s` seconds it stood."""
        since_mono_s = now_mono_s - within_s
        return sum(max(0.0, one.until_mono_s - max(one.from_mono_s, since_mono_s)) for one in self._stretches)

    def forget_before(self, mono_s: float) -> None:
        """Count nothing any more that was over by then."""
        while self._stretches and self._stretches[0].until_mono_s < mono_s:
            self._stretches.popleft()

    def is_well(self, now_mono_s: float, rules: TroubleRules) -> bool:
        """Tell whether it has been gone for long enough, as far as it does not come and go.

        Where nobody could know for a while, its camera has to be seen again for as long as a fault takes to be certain.
        """
        hidden = self.hidden_mono_s > self.last_mono_s
        gone_s = now_mono_s - max(self.last_mono_s, self.hidden_mono_s)
        return len(self._stretches) <= 1 and gone_s > (rules.lasting_s if hidden else rules.clear_s)

    def leave(self) -> None:
        """Take it out of its alert: if it comes back within minutes it is told anew, as of then."""
        self.alert_id = None
        for stretch in self._stretches:
            stretch.began_at = None

    def _known_onsets(self) -> Iterable[datetime]:
        if self.alert_id is not None:
            yield self.trouble.began_at
        for stretch in self._stretches:
            if stretch.began_at is not None:
                yield stretch.began_at
