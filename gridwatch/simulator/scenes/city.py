# SPDX-License-Identifier: AGPL-3.0-or-later
"""The whole demo: four places where something happens, two where nothing does, and the truth about it.

Everything is drawn from one seed: which place gets which event, when, where and how large.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from gridwatch.core.geometry import WHOLE_PICTURE, Polygon
from gridwatch.core.zone import CrowdLimit, Kind, TrafficLimit, Zone
from gridwatch.simulator.scenes.burning import Fire, Smoke
from gridwatch.simulator.scenes.buses import PassingBus, StoppingBus, painted
from gridwatch.simulator.scenes.camera import SceneCamera
from gridwatch.simulator.scenes.canvas import Sprite
from gridwatch.simulator.scenes.cutouts import Cutouts, load_cutouts
from gridwatch.simulator.scenes.evening import Cloth, Flicker, HeadLamps, night_street, sunset_road
from gridwatch.simulator.scenes.fluid import FluidBank, load_fluids
from gridwatch.simulator.scenes.people import Gathering, Look, Walker, dressed
from gridwatch.simulator.scenes.places import PAINTERS, SUITABLE, Place
from gridwatch.simulator.scenes.schedule import Actor, Episode, Recurring, SceneEvent, slot

CROWD_LIMIT = CrowdLimit(limit=6, dwell_s=4.0)
TRAFFIC_LIMIT = TrafficLimit(stopped_dwell_s=10.0)
OPEN_GROUND: Polygon = ((0.01, 0.36), (0.99, 0.36), (0.99, 0.995), (0.01, 0.995))
NO_STOPPING: Polygon = ((0.01, 0.5), (0.99, 0.5), (0.99, 0.995), (0.01, 0.995))

_FIRST_CYCLE_S = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class DemoCity:
    """The demo's cameras and the truth about them.

    Attributes:
        cameras: all of them, quiet ones last.
        events: the first event of each camera that has one, by onset.
        quiet: names of the cameras that must raise nothing.
        planted: the flame put into a quiet camera on request; no part of `events`.
    """

    seed: int
    cameras: tuple[SceneCamera, ...]
    events: tuple[SceneEvent, ...]
    quiet: tuple[str, ...]
    planted: SceneEvent | None = None

    def events_until(self, until_s: float) -> list[SceneEvent]:
        """Return every event that begins before timeline second `until_s`, by onset (each scene repeats, drawn anew)."""
        found = [
            event
            for camera in self.cameras
            if camera.name not in self.quiet
            for event in camera.events(until_s)
        ]
        return sorted(found, key=lambda event: event.onset_s)


def default_zones() -> tuple[Zone, ...]:
    """Return what every camera of the demo is watched for, quiet ones included; limits and dwells suit a short run."""
    return (
        Zone("whole-picture", frozenset({Kind.FIRE, Kind.SMOKE}), WHOLE_PICTURE, name="全画面 whole picture"),
        Zone(
            "open-ground", frozenset({Kind.CROWD}), OPEN_GROUND, name="公共场地 open ground",
            purpose="防拥挤踩踏 crush prevention", crowd=CROWD_LIMIT,
        ),
        Zone(
            "no-stopping", frozenset({Kind.TRAFFIC}), NO_STOPPING, name="禁停区 no stopping",
            purpose="消防通道与交通畅通 keep the way clear", traffic=TRAFFIC_LIMIT,
        ),
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class _Stock:
    """What all scenes of one demo are made from."""

    seed: int
    start_after_s: float
    clock_start: datetime | None
    fluids: FluidBank
    cutouts: Cutouts

    def rng(self, *salt: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *salt])


def make_demo(
    seed: int,
    *,
    assets: Path,
    without: Collection[Kind] = (),
    flame_in_quiet: bool = False,
    start_after_s: float = 14.0,
    clock_start: datetime | None = None,
) -> DemoCity:
    """Draw a demo from `seed`.

    Args:
        seed: the same seed gives the same frames.
        assets: the folder with the photograph (see cutouts).
        without: kinds whose event is left out; their cameras stay, with their ordinary life.
        flame_in_quiet: put a flame into one of the quiet cameras, where none belongs.
        start_after_s: no first onset before this timeline second; they spread over the 20 s after it.
        clock_start: the wall time to burn in at timeline second 0; None burns in the timeline itself.

    Raises:
        InputError: the photograph or the flames are missing.
    """
    stock = _Stock(seed, start_after_s, clock_start, load_fluids(), load_cutouts(assets))
    plan = assign(stock.rng(1))
    busy = [_event_camera(stock, kind, key, staged=kind not in without) for kind, key in plan.items()]
    flame = int(stock.rng(2).integers(2)) if flame_in_quiet else None
    quiet = [_quiet_camera(stock, number, flame=flame == number) for number in range(2)]
    events = [event for camera in busy for event in camera.events(_FIRST_CYCLE_S + start_after_s)]
    planted = [event for camera in quiet for event in camera.events(_FIRST_CYCLE_S + start_after_s)]
    return DemoCity(
        seed,
        (*sorted(busy, key=lambda camera: camera.name), *quiet),
        tuple(sorted(events, key=lambda event: event.onset_s)),
        tuple(camera.name for camera in quiet),
        planted[0] if planted else None,
    )


def assign(rng: np.random.Generator) -> dict[Kind, str]:
    """Draw a place for each kind, no place twice."""
    while True:
        plan = {kind: str(rng.choice(keys)) for kind, keys in SUITABLE.items()}
        if len(set(plan.values())) == len(plan):
            return plan


def _event_camera(stock: _Stock, kind: Kind, key: str, *, staged: bool) -> SceneCamera:
    number = list(Kind).index(kind)
    place = PAINTERS[key](stock.rng(3, number))
    event = _recurring(stock, kind, place)
    actors: list[Actor] = [event] if staged else []
    photograph = kind in (Kind.CROWD, Kind.TRAFFIC)
    if photograph:
        actors += _walkers(stock, place, number, 14.0)
    if kind is Kind.TRAFFIC:
        actors.append(_passing_bus(stock, place, number, event if staged else None))
    if kind in (Kind.FIRE, Kind.SMOKE):
        actors.append(Cloth(stock.rng(4, number), (150, 120, 84), (20, 90)))
    return _camera(stock, place, tuple(actors), number, photograph=photograph)


def _camera(
    stock: _Stock, place: Place, actors: tuple[Actor, ...], number: int, *, photograph: bool
) -> SceneCamera:
    return SceneCamera(
        place, actors, default_zones(), gop_frames=13 + number % 5, shows_photograph=photograph,
        clock_start=stock.clock_start,
    )  # fmt: skip


def _recurring(stock: _Stock, kind: Kind, place: Place) -> Recurring:
    salt = 100 + list(Kind).index(kind)
    start_s = stock.start_after_s

    def burn(cycle: int) -> Episode:
        when = slot(stock.seed, salt, cycle, start_s)
        foot = place.spots[int(when.rng.integers(len(place.spots)))]
        staging = Fire if kind is Kind.FIRE else Smoke
        return staging(place.key, when, stock.fluids, foot)

    def gather(cycle: int) -> Episode:
        when = slot(stock.seed, salt, cycle, start_s)
        return Gathering(
            place.key, when, stock.cutouts.persons, (CROWD_LIMIT.limit, OPEN_GROUND), place.light
        )

    def stop(cycle: int) -> Episode:
        when = slot(stock.seed, salt, cycle, start_s)
        return StoppingBus(place.key, when, _bus(stock, place, when.rng), place.drive_px or 0.0)

    return Recurring({Kind.CROWD: gather, Kind.TRAFFIC: stop}.get(kind, burn))


def _bus(stock: _Stock, place: Place, rng: np.random.Generator) -> tuple[Sprite, bool]:
    return painted(stock.cutouts.bus, rng, int(rng.uniform(330, 420)), place.light)


def _passing_bus(stock: _Stock, place: Place, number: int, event: Recurring | None) -> PassingBus:
    rng = stock.rng(5, number)
    bus = _bus(stock, place, rng)
    if event is None:
        return PassingBus(bus, place.drive_px or 0.0, 17.0, rng)

    def busy(at_s: float) -> bool:
        episode = event.episode_at(at_s)
        return isinstance(episode, StoppingBus) and episode.busy(at_s)

    return PassingBus(bus, place.drive_px or 0.0, 17.0, rng, busy)


def _walkers(stock: _Stock, place: Place, number: int, every_s: float) -> list[Actor]:
    """Return passers-by, one row each: at most one person per row at a time."""
    rng = stock.rng(6, number)
    walkers: list[Actor] = []
    for foot_px in place.walks:
        sprites = [dressed(person, rng, foot_px, place.light) for person in stock.cutouts.persons]
        looks = tuple(Look.of(sprite) for sprite in sprites)
        walkers.append(Walker(looks, rng, foot_px, every_s * rng.uniform(1.0, 1.5)))
    return walkers


def _quiet_camera(stock: _Stock, number: int, *, flame: bool) -> SceneCamera:
    rng = stock.rng(7, number)
    if number == 0:
        place = night_street(rng)
        lamps = [HeadLamps(rng, row, period) for row, period in ((400.0, 9.0), (455.0, 13.0))]
        actors: list[Actor] = [*lamps, Cloth(rng, (22, 22, 118)), Flicker(rng)]
    else:
        place = sunset_road(rng)
        actors = [
            *_walkers(stock, place, 9, 13.0),
            _passing_bus(stock, place, 9, None),
            Cloth(rng, (28, 28, 160)),
        ]
    if flame:
        actors.append(_recurring(stock, Kind.FIRE, place))
    return _camera(stock, place, tuple(actors), 4 + number, photograph=number == 1)
