# SPDX-License-Identifier: AGPL-3.0-or-later
"""Persons who pass by, and persons who gather. They are cut-outs without identity: nothing follows anybody."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gridwatch.core.geometry import Polygon, inside
from gridwatch.core.zone import Kind
from gridwatch.simulator.scenes.canvas import HEIGHT_PX, WIDTH_PX, Colour, Picture, Sprite, lay
from gridwatch.simulator.scenes.schedule import SceneEvent, Slot

_MARGIN_PX = 60  # how far outside the picture a person begins and ends a walk


def person_height_px(foot_px: float) -> float:
    """Return how tall a person looks who stands on row `foot_px` (the scenes share one camera geometry)."""
    return 104 + (foot_px - 330) * 0.295


def dressed(person: Sprite, rng: np.random.Generator, foot_px: float, light: Colour) -> Sprite:
    """Return a person at the size of row `foot_px`, with clothes of a drawn tint, under `light` (factors)."""
    height = round(person_height_px(foot_px) * rng.uniform(0.94, 1.06))
    width = round(height * person.width_px / person.height_px)
    bright = rng.uniform(0.8, 1.1)
    tint = [factor * bright * rng.uniform(0.93, 1.07) for factor in light]
    return person.scaled(width, height).tinted(*tint)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One cut-out person facing right and facing left."""

    right: Sprite
    left: Sprite

    @classmethod
    def of(cls, sprite: Sprite) -> "Look":
        """Make both directions from the one facing right."""
        return cls(sprite, sprite.mirrored())

    def stand(self, picture: Picture, x: float, foot_px: float, *, rightwards: bool) -> None:
        """Draw the person with the feet at (x, foot_px)."""
        sprite = self.right if rightwards else self.left
        lay(picture, sprite, round(x) - sprite.width_px // 2, round(foot_px) - sprite.height_px)


class Walker:
    """One place in the scene's flow of passers-by: every `period_s` somebody crosses the picture there."""

    def __init__(
        self, looks: tuple[Look, ...], rng: np.random.Generator, foot_px: float, period_s: float
    ) -> None:
        self._looks, self._foot_px, self._period_s = looks, foot_px, period_s
        self._speed_px = rng.uniform(75, 105)
        self._phase_s = rng.uniform(0, period_s)
        self._rightwards = bool(rng.integers(2))
        self._steps_px = rng.uniform(0, 2 * math.pi)

    def base_px(self, at_s: float) -> float:  # noqa: ARG002  walks along one row
        """Return the row walked on."""
        return self._foot_px

    def draw(self, picture: Picture, at_s: float) -> None:
        """Draw whoever crosses now."""
        turn, into_s = divmod(at_s + self._phase_s, self._period_s)
        way = into_s * self._speed_px - _MARGIN_PX
        if way > WIDTH_PX + _MARGIN_PX:
            return
        rightwards = self._rightwards ^ (int(turn) % 3 == 1)
        x = way if rightwards else WIDTH_PX - way
        look = self._looks[int(turn) % len(self._looks)]
        bob = abs(math.sin(way / 22 + self._steps_px)) * 3
        look.stand(picture, x, self._foot_px - bob, rightwards=rightwards)


@dataclass(frozen=True, slots=True, eq=False)
class _Member:
    """One of those who gather: comes from an edge, stands at (x, foot_px), leaves by the other edge."""

    look: Look
    x: float
    foot_px: float
    starts_s: float
    leaves_s: float
    from_left: bool
    sway: float

    SPEED_PX = 125.0

    def place(self, at_s: float) -> tuple[float, bool] | None:
        """Return x and whether walking; None before coming and after going."""
        start = -_MARGIN_PX if self.from_left else WIDTH_PX + _MARGIN_PX
        sign = 1 if self.from_left else -1
        if at_s < self.starts_s:
            return None
        if at_s >= self.leaves_s:
            x = self.x + sign * self.SPEED_PX * (at_s - self.leaves_s)
            return (x, True) if -_MARGIN_PX < x < WIDTH_PX + _MARGIN_PX else None
        x = start + sign * self.SPEED_PX * (at_s - self.starts_s)
        if (x - self.x) * sign < 0:
            return x, True
        return self.x + 1.5 * math.sin(at_s * 0.7 + self.sway), False


class Gathering:
    """More persons than a zone allows, who come within seconds and stay for minutes."""

    def __init__(
        self, camera: str, slot: Slot, looks: tuple[Sprite, ...], limit: tuple[int, Polygon], light: Colour
    ) -> None:
        coming = sorted(_members(slot, looks, light), key=lambda member: member.foot_px)
        late_s = _exceeds_s(coming, *limit) - slot.begin_s
        self._members = tuple(replace(member, starts_s=member.starts_s - late_s) for member in coming)
        xs = [member.x for member in self._members]
        feet = [member.foot_px for member in self._members]
        heights = person_height_px(min(feet))
        self.event = SceneEvent(
            kind=Kind.CROWD, subtype="count", camera=camera, onset_s=slot.begin_s,
            appears_s=min(member.starts_s for member in self._members),
            end_s=min(member.leaves_s for member in self._members),
            box=((min(xs) - 40) / WIDTH_PX, (min(feet) - heights - 10) / HEIGHT_PX,
                 (max(xs) + 40) / WIDTH_PX, min(1.0, (max(feet) + 2) / HEIGHT_PX)),
        )  # fmt: skip

    def base_px(self, at_s: float) -> float:  # noqa: ARG002  they stay where they are
        """Return the row of the one who stands nearest."""
        return self._members[-1].foot_px

    def draw(self, picture: Picture, at_s: float) -> None:
        """Draw everybody who has come, the farthest first."""
        for member in self._members:
            place = member.place(at_s)
            if place is None:
                continue
            x, walking = place
            bob = abs(math.sin(x / 22)) * 3 if walking else 0.0
            member.look.stand(picture, x, member.foot_px - bob, rightwards=member.from_left)

    def count(self, zone: Polygon, at_s: float) -> int:
        """Return how many of them stand or walk inside `zone` now (by their feet)."""
        return _count(self._members, zone, at_s)


def _count(members: Sequence[_Member], zone: Polygon, at_s: float) -> int:
    places = [(member.place(at_s), member.foot_px) for member in members]
    feet = [(place[0] / WIDTH_PX, foot / HEIGHT_PX) for place, foot in places if place is not None]
    return int(np.count_nonzero(inside(np.array(feet), zone))) if feet else 0


def _exceeds_s(members: Sequence[_Member], limit: int, zone: Polygon) -> float:
    """Return the first tenth of a second at which more than `limit` of them are in the zone."""
    first_s = min(member.starts_s for member in members)
    steps = (first_s + step / 10 for step in range(600))
    return next(at_s for at_s in steps if _count(members, zone, at_s) > limit)


def _members(slot: Slot, looks: tuple[Sprite, ...], light: Colour) -> list[_Member]:
    rng = slot.rng
    rows = (395.0, 455.0, 522.0)
    count = int(rng.integers(11, 14))
    middle = rng.uniform(330, 630)
    members = []
    for index in range(count):
        row, column = index % 3, index // 3
        foot_px = rows[row] + rng.uniform(-8, 8)
        gap = person_height_px(foot_px) * 0.62
        x = middle + (column - (count - 1) / 6) * gap + (row - 1) * gap / 2.6 + rng.uniform(-5, 5)
        look = Look.of(dressed(looks[index % len(looks)], rng, foot_px, light))
        from_left = bool(rng.integers(2))
        way = (x if from_left else WIDTH_PX - x) + _MARGIN_PX
        arrives_s = slot.begin_s + rng.uniform(-2.0, 2.0)
        members.append(
            _Member(
                look, x, foot_px, arrives_s - way / _Member.SPEED_PX, slot.end_s + rng.uniform(0, 5), from_left,
                rng.uniform(0, 6),
            )
        )  # fmt: skip
    return members
