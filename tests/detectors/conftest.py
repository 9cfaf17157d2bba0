# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera before which things appear: hand-made answers with hand-made pictures, look by look."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from detectors.judge import Judge
from gridwatch.core.camera import Camera
from gridwatch.core.detections import Detections, ObjectClass, Unknown
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.look import Look, LookReason
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import CrowdLimit, Kind, TrafficLimit, Zone

START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)
_HEIGHT, _WIDTH = 180, 320


@dataclass(frozen=True)
class Thing:
    """What the network says of one thing; `look` is its texture: another number is another inside."""

    cls: ObjectClass
    confidence: float
    xyxy: tuple[float, float, float, float]
    look: int = 0

    def looking(self, look: int) -> "Thing":
        return replace(self, look=look)


@dataclass(frozen=True)
class Picture:
    """A frame with a luma plane only."""

    plane: np.ndarray

    @property
    def width(self) -> int:
        return self.plane.shape[1]

    @property
    def height(self) -> int:
        return self.plane.shape[0]

    def luma(self) -> np.ndarray:
        return self.plane

    def view(self, width: int, height: int) -> np.ndarray:
        raise NotImplementedError


def paint(things: Sequence[Thing], brightness: int = 0) -> Picture:
    plane = np.full((_HEIGHT, _WIDTH), 90, np.int16)
    for thing in things:
        x0, y0, x1, y1 = thing.xyxy
        patch = plane[
            int(y0 * _HEIGHT) : int(np.ceil(y1 * _HEIGHT)), int(x0 * _WIDTH) : int(np.ceil(x1 * _WIDTH))
        ]
        patch[...] = np.random.default_rng([thing.cls, thing.look]).integers(60, 200, patch.shape)
    return Picture(np.clip(plane + brightness, 0, 255).astype(np.uint8))


def answer_of(things: Sequence[Thing], density: np.ndarray | None = None) -> Detections:
    things = sorted(things, key=lambda thing: -thing.confidence)
    return Detections(
        np.array([thing.xyxy for thing in things], np.float32).reshape(-1, 4),
        np.array([thing.confidence for thing in things], np.float32),
        np.array([thing.cls for thing in things], np.int64),
        np.full(len(things), np.nan, np.float32),
        density,
    )


@dataclass
class Watch:
    """A judge and its camera's time; collects what was said."""

    judge: Judge
    camera_id: str
    step_s: float = 2.0
    now_s: float = 100.0
    said: list[Finding] = field(default_factory=list)
    why: LookReason = LookReason.PATROL
    at_home: bool = True

    def see(self, *things: Thing, density: np.ndarray | None = None, brightness: int = 0) -> list[Finding]:
        """One look one step later, answered."""
        return self._look(paint(things, brightness), answer_of(things, density))

    def see_picture(self, picture: Picture, *things: Thing) -> list[Finding]:
        return self._look(picture, answer_of(things))

    def see_shaken(self, *things: Thing) -> list[Finding]:
        """A look whose whole picture is another one: nothing in it can be compared with the look before."""
        coarse = np.random.default_rng(round(self.now_s * 1000)).integers(0, 255, (18, 32), np.uint8)
        return self._look(Picture(coarse.repeat(10, 0).repeat(10, 1)), answer_of(things))

    def no_answer(self) -> list[Finding]:
        return self._look(paint([]), Unknown("time-out"))

    def seconds(self, stage: Stage) -> list[float]:
        return [round(each.at_mono_s - 100.0, 3) for each in self.said if each.stage is stage]

    def stages(self) -> list[str]:
        return [str(each.stage) for each in self.said]

    def _look(self, frame: Picture, answer: Detections | Unknown) -> list[Finding]:
        self.now_s += self.step_s
        at = START + timedelta(seconds=self.now_s - 100.0)
        look = Look(self.camera_id, self.why, self.now_s, at, 0.0, frame, self.at_home)
        new = self.judge.update(look, answer)
        self.said += new
        return new


def zone_for(*kinds: Kind, zone_id: str = "z1", **limits: object) -> Zone:
    return Zone(zone_id, frozenset(kinds), **limits)  # type: ignore[arg-type]


def make_camera(*zones: Zone, camera_id: str = "cam-1") -> Camera:
    return Camera(camera_id, "north gate", SecretUrl("rtsp://127.0.0.1/1"), zones)


@pytest.fixture
def watch() -> Callable[..., Watch]:
    """Make a watch over zones (default: one for all kinds, limit 10 for 4 s, stopped for 8 s)."""

    def make(*zones: Zone, step_s: float = 2.0, camera_id: str = "cam-1") -> Watch:
        everything = zone_for(*Kind, crowd=CrowdLimit(10, 4.0), traffic=TrafficLimit(8.0))
        camera = make_camera(*(zones or (everything,)), camera_id=camera_id)
        return Watch(Judge(camera), camera_id, step_s)

    return make


@pytest.fixture
def flame() -> Thing:
    return Thing(ObjectClass.FIRE, 0.6, (0.4, 0.4, 0.5, 0.6))


@pytest.fixture
def smoke() -> Thing:
    return Thing(ObjectClass.SMOKE, 0.6, (0.3, 0.1, 0.6, 0.5))


@pytest.fixture
def car() -> Thing:
    return Thing(ObjectClass.CAR, 0.7, (0.4, 0.5, 0.6, 0.7))


@pytest.fixture
def crowd_of() -> Callable[[int], list[Thing]]:
    """Make so many person boxes, side by side."""

    def make(people: int) -> list[Thing]:
        return [
            Thing(ObjectClass.PERSON, 0.6, (0.02 * i, 0.4, 0.02 * i + 0.015, 0.5), look=i)
            for i in range(people)
        ]

    return make


@pytest.fixture
def zone() -> Callable[..., Zone]:
    return zone_for


@pytest.fixture
def camera() -> Callable[..., Camera]:
    return make_camera


@pytest.fixture
def thing() -> type[Thing]:
    return Thing


@pytest.fixture
def picture_of() -> Callable[..., Picture]:
    """Paint things whether the network notices them or not."""
    return lambda *things: paint(things)


@pytest.fixture(scope="module")
def watch_of_module() -> tuple[Callable[..., Watch], type[Thing]]:
    """The same as `watch`, for properties that run many times."""

    def make(camera_id: str = "cam-1") -> Watch:
        everything = zone_for(*Kind, crowd=CrowdLimit(2, 4.0), traffic=TrafficLimit(4.0))
        return Watch(Judge(make_camera(everything, camera_id=camera_id)), camera_id)

    return make, Thing
