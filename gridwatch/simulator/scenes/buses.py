# SPDX-License-Identifier: AGPL-3.0-or-later
"""Buses that drive through, and one that drives in and stops where it should not."""

from collections.abc import Callable

import numpy as np

from gridwatch.core.zone import Kind
from gridwatch.simulator.scenes.canvas import HEIGHT_PX, WIDTH_PX, Colour, Picture, Sprite, lay
from gridwatch.simulator.scenes.schedule import SceneEvent, Slot

_BRAKE_PX = 260.0  # way over which it comes to a stand


def painted(bus: Sprite, rng: np.random.Generator, width_px: int, light: Colour) -> tuple[Sprite, bool]:
    """Return a bus of that width in a drawn colour under `light` (factors), and whether it drives to the right."""
    sprite = bus.scaled(width_px, round(width_px * bus.height_px / bus.width_px))
    paints: tuple[Colour, ...] = ((1.0, 1.0, 1.0), (0.8, 1.15, 0.9), (0.9, 1.0, 1.12), (1.1, 0.95, 0.9))
    paint = paints[int(rng.integers(len(paints)))]
    sprite = sprite.tinted(*(a * b for a, b in zip(paint, light, strict=True)))
    rightwards = bool(rng.integers(2))
    return (sprite.mirrored() if rightwards else sprite), rightwards


class PassingBus:
    """Every `period_s` a bus drives through without stopping, unless `busy` says that the road is not free."""

    def __init__(
        self, bus: tuple[Sprite, bool], base_px: float, period_s: float, rng: np.random.Generator,
        busy: Callable[[float], bool] = lambda _: False,
    ) -> None:  # fmt: skip
        self._sprite, self._rightwards = bus
        self._base_px, self._period_s, self._busy = base_px, period_s, busy
        self._phase_s = rng.uniform(0, period_s)
        self._speed_px = rng.uniform(230, 290)

    def base_px(self, at_s: float) -> float:  # noqa: ARG002  drives along one row
        """Return the row driven on."""
        return self._base_px

    def draw(self, picture: Picture, at_s: float) -> None:
        """Draw the bus that passes now, if one does."""
        into_s = (at_s + self._phase_s) % self._period_s
        way = into_s * self._speed_px
        span = WIDTH_PX + self._sprite.width_px
        if way > span or self._busy(at_s - into_s) or self._busy(at_s - into_s + span / self._speed_px):
            return
        x = way - self._sprite.width_px if self._rightwards else WIDTH_PX - way
        lay(picture, self._sprite, round(x), round(self._base_px) - self._sprite.height_px)


class StoppingBus:
    """A bus that drives in, brakes, and stands; minutes later it drives on."""

    SPEED_PX = 210.0

    def __init__(self, camera: str, slot: Slot, bus: tuple[Sprite, bool], base_px: float) -> None:
        self._sprite, self._rightwards = bus
        self._base_px = base_px
        width = self._sprite.width_px
        self._stop_px = slot.rng.uniform(0.1, 0.9) * (WIDTH_PX - width - 120) + 60
        way = self._stop_px + width if self._rightwards else WIDTH_PX - self._stop_px
        takes_s = (way - _BRAKE_PX) / self.SPEED_PX + 2 * _BRAKE_PX / self.SPEED_PX
        top = base_px - self._sprite.height_px
        self.event = SceneEvent(
            kind=Kind.TRAFFIC, subtype="stopped_vehicle", camera=camera, appears_s=slot.begin_s - takes_s,
            onset_s=slot.begin_s, end_s=slot.end_s,
            box=(self._stop_px / WIDTH_PX, top / HEIGHT_PX, (self._stop_px + width) / WIDTH_PX, base_px / HEIGHT_PX),
        )  # fmt: skip

    def busy(self, at_s: float) -> bool:
        """Tell whether it needs the road at `at_s`, some seconds before and after included."""
        return self.event.appears_s - 3 < at_s < self.event.end_s + 12

    def base_px(self, at_s: float) -> float:  # noqa: ARG002  drives along one row
        """Return the row driven on."""
        return self._base_px

    def draw(self, picture: Picture, at_s: float) -> None:
        """Draw it where it is."""
        if at_s < self.event.appears_s:
            return
        ahead = self._ahead_px(at_s)
        x = self._stop_px + (ahead if self._rightwards else -ahead)
        lay(picture, self._sprite, round(x), round(self._base_px) - self._sprite.height_px)

    def _ahead_px(self, at_s: float) -> float:
        """Return how far it is past the place where it stands (negative before it)."""
        if at_s >= self.event.end_s:
            return 0.5 * 60 * (at_s - self.event.end_s) ** 2
        left_s = max(0.0, self.event.onset_s - at_s)
        brakes_s = 2 * _BRAKE_PX / self.SPEED_PX
        if left_s >= brakes_s:
            return -(_BRAKE_PX + (left_s - brakes_s) * self.SPEED_PX)
        return -_BRAKE_PX * (left_s / brakes_s) ** 2
