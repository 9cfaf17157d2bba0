# SPDX-License-Identifier: AGPL-3.0-or-later
"""When something happens in a scene: drawn from the seed, again and again in cycles, so that the demo stays alive."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from gridwatch.core.zone import Kind
from gridwatch.simulator.scenes.canvas import Picture

CYCLE_S = 480.0
"""One event per camera and cycle: it begins early, lasts some minutes, and leaves time to be over."""

_SPREAD_S = 20.0
_QUIET_S = 40.0  # the end of a cycle in which the last ones walk and drive away


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneEvent:
    """The truth about one event.

    Attributes:
        camera: the camera's name.
        appears_s: timeline second from which the picture differs from the same scene without the event.
        onset_s: when what the detector looks for is the case: burning, smoking, more persons than the limit,
            standing still.
        end_s: when it is over.
        box: the region it keeps to, normalised x0, y0, x1, y1 (who walks in or drives up comes from outside).
    """

    kind: Kind
    subtype: str
    camera: str
    appears_s: float
    onset_s: float
    end_s: float
    box: tuple[float, float, float, float]


class Actor(Protocol):
    """Something in a scene that moves."""

    def base_px(self, at_s: float) -> float:
        """Return where it stands (row): what stands lower is nearer and drawn later."""
        ...

    def draw(self, picture: Picture, at_s: float) -> None:
        """Draw it as it is at timeline second `at_s`, in place."""
        ...


class Episode(Actor, Protocol):
    """An actor that is one event."""

    @property
    def event(self) -> SceneEvent:
        """The truth about it."""
        ...


@dataclass(frozen=True, slots=True)
class Slot:
    """When one cycle's event is to begin and end, and the dice for everything else about it."""

    begin_s: float
    end_s: float
    rng: np.random.Generator


def slot(seed: int, salt: int, cycle: int, start_after_s: float) -> Slot:
    """Draw the slot of one cycle.

    The first cycle's begins `start_after_s` after the timeline's start or up to 20 s later, a later cycle's
    somewhere in its first two minutes; all are over well before their cycle is.
    """
    rng = np.random.default_rng([seed, salt, cycle])
    first_s = start_after_s + rng.uniform(0, _SPREAD_S)
    begin_s = first_s if cycle == 0 else cycle * CYCLE_S + rng.uniform(20, 120)
    end_s = min(begin_s + rng.uniform(200, 260), (cycle + 1) * CYCLE_S - _QUIET_S)
    return Slot(begin_s, end_s, rng)


class Recurring:
    """An event that comes back in every cycle, each time drawn anew. Keeps the current cycle only.

    Not for several threads at once, like the camera that it belongs to.
    """

    def __init__(self, stage: Callable[[int], Episode]) -> None:
        self._stage = stage
        self._current: tuple[int, Episode] | None = None

    def episode(self, cycle: int) -> Episode:
        """Return the event of one cycle."""
        if self._current is None or self._current[0] != cycle:
            self._current = (cycle, self._stage(cycle))
        return self._current[1]

    def episode_at(self, at_s: float) -> Episode:
        """Return the event of the cycle in which `at_s` lies."""
        return self.episode(max(0, int(at_s // CYCLE_S)))

    def base_px(self, at_s: float) -> float:
        """Return where this cycle's event stands."""
        return self.episode_at(at_s).base_px(at_s)

    def draw(self, picture: Picture, at_s: float) -> None:
        """Draw this cycle's event."""
        self.episode_at(at_s).draw(picture, at_s)

    def events(self, until_s: float) -> list[SceneEvent]:
        """Return the truth about every event that begins before `until_s`."""
        cycles = range(int(until_s // CYCLE_S) + 1)
        found = [self._stage(cycle).event for cycle in cycles]
        return [event for event in found if event.onset_s < until_s]
