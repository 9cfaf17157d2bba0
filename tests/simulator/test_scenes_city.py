# SPDX-License-Identifier: AGPL-3.0-or-later
"""The generated scenes: the same from the same seed, different from another, and true to their truth."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from gridwatch.core.errors import InputError
from gridwatch.core.geometry import inside, polygon_problem
from gridwatch.core.zone import Kind
from gridwatch.simulator.scenes import DemoCity, SceneCamera, SceneEvent, make_demo
from gridwatch.simulator.scenes.city import CROWD_LIMIT, NO_STOPPING, OPEN_GROUND, assign

ASSETS = Path(__file__).resolve().parents[2] / ".venv" / "scenes" / "ultralytics" / "assets"
SEED = 11


def demo(seed: int = SEED, **options) -> DemoCity:
    assert (ASSETS / "bus.jpg").is_file(), (
        f"{ASSETS / 'bus.jpg'} is missing: scripts/test unpacks it (scripts/unpack_scenes.py)"
    )
    return make_demo(seed, assets=ASSETS, **options)


@pytest.fixture(scope="module")
def city() -> DemoCity:
    return demo()


@pytest.fixture(scope="module")
def empty_city() -> DemoCity:
    return demo(without=frozenset(Kind))


@pytest.fixture(scope="module")
def late_cities() -> list[DemoCity]:
    return [demo(seed, start_after_s=50.0) for seed in range(3)]


def camera_of(city: DemoCity, name: str) -> SceneCamera:
    return next(camera for camera in city.cameras if camera.name == name)


def pictures_at(city: DemoCity, event: SceneEvent, at_s: float) -> np.ndarray:
    return camera_of(city, event.camera).render(int(at_s * 10)).astype(int)


def differs(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Return the normalised points (N, 2) at which two pictures differ visibly."""
    rows, columns = np.nonzero(np.abs(one - other).max(axis=2) > 6)
    return np.stack([columns / one.shape[1], rows / one.shape[0]], axis=1)


def test_there_are_four_cameras_with_one_event_of_each_kind_and_two_quiet_ones(city):
    """Each kind happens once, at a camera of its own, and two cameras stay quiet."""
    names = [camera.name for camera in city.cameras]
    assert len(set(names)) == 6
    assert sorted(event.kind for event in city.events) == sorted(Kind)
    busy = {event.camera for event in city.events}
    assert len(busy) == 4
    assert set(city.quiet) == set(names) - busy
    assert city.planted is None


def test_a_frame_is_a_fresh_picture_of_the_promised_shape(city):
    """Frames are 960 × 540 BGR bytes and belong to the caller."""
    for camera in city.cameras:
        picture = camera.render(0)
        assert picture.shape == (camera.height, camera.width, 3) == (540, 960, 3)
        assert picture.dtype == np.uint8
        untouched = picture.copy()
        picture[:] = 0
        assert np.array_equal(camera.render(0), untouched)
        assert 1.0 <= camera.gop_frames / camera.fps <= 2.0


def test_the_same_seed_gives_the_same_frames_in_any_order(city):
    """A frame depends on seed and index alone, not on what was rendered before."""
    again = demo()
    assert again.events == city.events
    for one, other in zip(city.cameras, again.cameras, strict=True):
        forwards = [one.render(index) for index in (0, 333, 700, 5100)]
        backwards = [other.render(index) for index in (5100, 700, 333, 0)][::-1]
        assert all(np.array_equal(a, b) for a, b in zip(forwards, backwards, strict=True))


def test_seeds_differ_in_onset_place_size_and_camera(late_cities):
    """Over some seeds onsets, boxes, pictures and the assignment of cameras vary."""
    for kind in Kind:
        events = [event for city in late_cities for event in city.events if event.kind is kind]
        assert len({event.onset_s for event in events}) == len(late_cities)
        assert len({event.box for event in events}) == len(late_cities)
    plans = {tuple(sorted((event.kind, event.camera) for event in city.events)) for city in late_cities}
    assert len(plans) > 1
    nights = {camera_of(city, "night-street").render(0).tobytes() for city in late_cities}
    assert len(nights) == len(late_cities)


def test_every_kind_visits_every_place_that_suits_it():
    """The assignment reaches all suitable places and never uses one twice."""
    plans = [assign(np.random.default_rng(seed)) for seed in range(200)]
    assert all(len(set(plan.values())) == 4 for plan in plans)
    assert {plan[Kind.TRAFFIC] for plan in plans} == {"junction", "main-road", "shops"}
    assert {plan[Kind.FIRE] for plan in plans} == {"yard", "lane", "shops", "plaza"}


def test_onsets_lie_where_they_were_asked_for(late_cities):
    """First onsets spread over half a minute after `start_after_s` and last for minutes."""
    for event in (event for city in late_cities for event in city.events):
        assert 50.0 <= event.onset_s <= 80.0
        assert event.appears_s <= event.onset_s < event.end_s - 120


@pytest.mark.parametrize("kind", list(Kind))
def test_before_it_appears_the_picture_is_that_of_the_scene_without_it(city, empty_city, kind):
    """Until `appears_s` nothing of the event shows; after its onset the picture differs inside its box."""
    event = next(event for event in city.events if event.kind is kind)
    before_s = event.appears_s - 0.2
    if kind is not Kind.TRAFFIC:  # a road that must be free has fewer buses on it
        assert np.array_equal(pictures_at(city, event, before_s), pictures_at(empty_city, event, before_s))
    x0, y0, x1, y1 = event.box
    changed = differs(
        pictures_at(city, event, event.onset_s + 9), pictures_at(empty_city, event, event.onset_s + 9)
    )
    box = ((x0, y0), (x1, y0), (x1, y1), (x0, y1))
    assert np.count_nonzero(inside(changed, box)) > 3000


@pytest.mark.parametrize("kind", [Kind.FIRE, Kind.SMOKE])
def test_fire_and_smoke_keep_to_their_box_and_move(city, empty_city, kind):
    """What burns or smokes changes nothing outside its box, and changes from one key frame to the next."""
    event = next(event for event in city.events if event.kind is kind)
    x0, y0, x1, y1 = event.box
    looks = [pictures_at(city, event, event.onset_s + 5 + 1.4 * step) for step in range(6)]
    for step, look in enumerate(looks):
        changed = differs(look, pictures_at(empty_city, event, event.onset_s + 5 + 1.4 * step))
        low, high = changed.min(axis=0), changed.max(axis=0)
        assert low[0] >= x0 - 0.005
        assert low[1] >= y0 - 0.005
        assert high[0] <= x1 + 0.005
        assert high[1] <= y1 + 0.005
    rows, columns = slice(int(y0 * 540), int(y1 * 540)), slice(int(x0 * 960), int(x1 * 960))
    moves = [np.abs(b - a)[rows, columns].mean() for a, b in itertools.pairwise(looks)]
    assert min(moves) > 2.0


def test_a_fire_goes_out_and_comes_back_in_the_next_cycle(city):
    """After its end the fire is gone; later another one begins, so that the demo stays alive."""
    fires = [event for event in city.events_until(1500) if event.kind is Kind.FIRE]
    assert len(fires) == 3
    assert all(later.onset_s > earlier.end_s + 30 for earlier, later in itertools.pairwise(fires))
    quiet = pictures_at(city, fires[0], fires[0].end_s + 1)
    burning = pictures_at(city, fires[1], fires[1].onset_s + 5)
    assert len(differs(quiet, burning)) > 3000


def test_the_bus_stands_still_from_its_onset_on(city):
    """From onset to end the stopped bus keeps its place inside the no-stopping zone."""
    event = next(event for event in city.events if event.kind is Kind.TRAFFIC)
    x0, y0, x1, y1 = event.box
    assert inside(np.array([[(x0 + x1) / 2, y1]]), NO_STOPPING)[0]
    part = (slice(int(y0 * 540) + 12, int(y0 * 540) + 60), slice(int(x0 * 960) + 60, int(x1 * 960) - 60))
    looks = [
        pictures_at(city, event, at_s)[part]
        for at_s in (event.onset_s + 0.1, event.onset_s + 60, event.end_s - 1)
    ]
    assert np.abs(looks[0] - looks[1]).mean() < 1
    assert np.abs(looks[0] - looks[2]).mean() < 1
    assert np.abs(looks[0] - pictures_at(city, event, event.onset_s - 2)[part]).mean() > 5


def test_a_kind_can_be_left_out_and_nothing_else_changes(city):
    """Without a kind its event is missing, its camera stays, and the others are as before."""
    without = demo(without=frozenset({Kind.FIRE}))
    assert [event.kind for event in city.events if event not in without.events] == [Kind.FIRE]
    assert [camera.name for camera in without.cameras] == [camera.name for camera in city.cameras]
    smoke = next(event for event in city.events if event.kind is Kind.SMOKE)
    at_s = smoke.onset_s + 7
    assert np.array_equal(pictures_at(without, smoke, at_s), pictures_at(city, smoke, at_s))


def test_a_flame_can_be_planted_in_a_quiet_camera(city):
    """The planted flame burns in one quiet camera, is no part of the truth, and the other one stays as it was."""
    planted = demo(flame_in_quiet=True)
    assert planted.events == city.events
    assert planted.planted is not None
    assert planted.planted.camera in planted.quiet
    for name in planted.quiet:
        index = int((planted.planted.onset_s + 6) * 10)
        same = np.array_equal(camera_of(planted, name).render(index), camera_of(city, name).render(index))
        assert same == (name != planted.planted.camera)


def test_zones_are_the_same_everywhere_and_usable(city):
    """Every camera, quiet or not, is watched for every kind with the same limits."""
    for camera in city.cameras:
        assert camera.zones == city.cameras[0].zones
        assert {kind for zone in camera.zones for kind in zone.kinds} == set(Kind)
        assert all(polygon_problem(zone.polygon) is None for zone in camera.zones)
        crowd = next(zone for zone in camera.zones if Kind.CROWD in zone.kinds)
        assert crowd.purpose
        assert crowd.polygon == OPEN_GROUND
        assert crowd.crowd == CROWD_LIMIT


def test_cameras_for_documents_show_no_photograph(city):
    """Where fire and smoke happen, and at night, nothing of the photograph appears."""
    plain = {camera.name for camera in city.cameras if not camera.shows_photograph}
    burning = {event.camera for event in city.events if event.kind in (Kind.FIRE, Kind.SMOKE)}
    assert plain == burning | {"night-street"}


def test_a_missing_photograph_is_said_in_one_sentence(tmp_path):
    """Without the photograph the demo says which file is missing and what to do."""
    with pytest.raises(
        InputError, match=r"bus\.jpg: the photograph .* is missing; run scripts/unpack_scenes\.py"
    ):
        make_demo(SEED, assets=tmp_path)


def test_another_picture_of_that_name_is_refused(tmp_path):
    """A file that is not the photograph is refused instead of cut up."""
    (tmp_path / "bus.jpg").write_bytes(b"no picture")
    with pytest.raises(InputError, match="not the photograph"):
        make_demo(SEED, assets=tmp_path)
