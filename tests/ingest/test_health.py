# SPDX-License-Identifier: AGPL-3.0-or-later
"""Proof of sight from pictures: each fault is told in its time and taken back, and what is no fault is not told."""

import cv2
import numpy as np
import pytest

from gridwatch.core.camera import Fault
from ingest import health
from ingest.health import PictureHealth, Seen
from ingest.homeview import look_at
from tests.ingest import street as scene

LEARN_S = 60


@pytest.fixture
def camera():
    """A camera that has been well for a minute."""
    camera = scene.Camera(PictureHealth())
    assert camera.show(LEARN_S) == {None: 2.0}
    return camera


@pytest.fixture
def dome():
    camera = scene.Camera(PictureHealth(patrols=True))
    camera.show(LEARN_S)
    assert camera.seen == Seen(None, at_home=True)
    return camera


FAULTS = [
    (Fault.BLACK, scene.flat(17), 15),
    (Fault.WASHED_OUT, lambda luma: 235 - (235 - luma.clip(16, 235)) * 0.1, 25),
    (Fault.COVERED, scene.flat(140), 25),
    (Fault.COVERED, scene.flat(230), 25),
    (Fault.COVERED, lambda luma: scene.slope(130, 170), 25),
    (Fault.COVERED, lambda luma: scene.slope(200, 235), 25),
    (Fault.COVERED, scene.covered(0.85), 25),
    (Fault.COVERED, scene.flat(50), 25),
    (Fault.BLURRED, scene.blurred(1.2), 35),
    (Fault.BLURRED, scene.blurred(4), 35),
    (Fault.MOVED, scene.shifted(64, 18), 25),
    (Fault.MOVED, scene.shifted(-8, 0), 45),
    (Fault.MOVED, lambda _: scene.hills(), 25),
]


@pytest.mark.parametrize(("fault", "change", "within_s"), FAULTS)
def test_each_fault_is_told_in_its_time_and_taken_back(camera, fault, change, within_s):
    """It lasts a while before it is told, and two good pictures take it back; it is known since when it began."""
    began = camera.at_mono_s
    told = camera.show(60, change)
    assert 10 <= told.pop(fault) <= within_s
    assert set(told) <= {None}
    assert camera.seen.fault is fault
    assert began < camera.seen.since_mono_s <= began + within_s - 8
    assert camera.seen.at_home is (fault not in {Fault.MOVED, Fault.COVERED})
    assert camera.pictures_until_good() <= 3
    assert camera.seen == Seen(None, at_home=True)


@pytest.mark.parametrize("key_s", [0.5, 5.0, 10.0])
def test_the_time_until_a_fault_is_told_does_not_hang_on_the_key_interval(camera, key_s):
    """Twenty seconds of pictures, and three of them at least."""
    told = camera.show(60, scene.covered(0.9), key_s)
    assert 20 <= told[Fault.COVERED] <= 30


HARMLESS = {
    "a lorry before the lens for 10 s": (10, scene.covered(0.85, level=120)),
    "a black picture for a moment": (6, scene.flat(16)),
    "lights on all at once": (60, scene.lit(1.3)),
    "dark all at once": (60, scene.lit(0.2)),
    "lamps all at once": (120, scene.lamps),
    "fog": (60, scene.lit(0.25, 120)),
    "infrared: other things are bright": (60, lambda luma: 250 - luma),
    "half of it hidden": (120, scene.covered(0.5)),
    "the pole swings": (60, scene.shifted(1.5, 0.5)),
}


@pytest.mark.parametrize(("seconds", "change"), HARMLESS.values(), ids=HARMLESS)
def test_what_passes_or_only_changes_the_light_is_no_fault(camera, seconds, change):
    """Neither light nor what stands before the camera for a while makes it faulty; nor does the way back."""
    assert set(camera.show(seconds, change)) == {None}
    assert set(camera.show(60)) == {None}
    assert camera.seen.at_home


def test_a_busy_street_at_rush_hour_is_no_fault(camera):
    """Cars everywhere, all the time: other ones in each picture."""
    cars = np.random.default_rng(9)

    def traffic(luma):
        out = luma.copy()
        for x, y, shade in zip(
            cars.integers(0, 290, 14), cars.integers(95, 165, 14), cars.integers(20, 235, 14), strict=True
        ):
            out[y : y + 14, x : x + 26] = shade
        return out

    assert set(camera.show(160, traffic)) == {None}


def test_rain_at_night_is_no_fault(camera):
    """Much noise and streaks under lamps, for some minutes."""
    drops = np.random.default_rng(4)

    def rain(luma):
        out = scene.lamps(luma)
        for x, y in zip(drops.integers(0, 319, 80), drops.integers(0, 160, 80), strict=True):
            out[y : y + 12, x] += 40
        return out + drops.normal(0, 2, out.shape)

    assert set(camera.show(200, rain)) == {None}


def test_a_day_passes_without_a_fault(camera):
    """Dusk over half an hour down to hardly any light, and dawn: the view is followed, and known again."""
    gains = np.geomspace(1, 0.12, 90)
    for gain in (*gains, *([0.12] * 60), *gains[::-1]):
        assert set(camera.show(20, scene.lit(float(gain)), key_s=10)) == {None}
    assert camera.seen.at_home


def test_a_camera_that_was_turned_in_the_dark_is_found_out_in_the_morning(camera):
    """By night there is nothing to know the view by; by day the old one is remembered."""
    for gain in np.geomspace(1, 0.02, 90):
        camera.show(20, scene.lit(float(gain)), key_s=10)
    assert camera.show(600, scene.lit(0.02), key_s=10).keys() <= {None, Fault.BLACK}
    camera.luma = scene.shifted(70, 10)(camera.luma)
    for gain in np.geomspace(0.02, 1, 90):
        camera.show(20, scene.lit(float(gain)), key_s=10)
    assert (camera.seen.fault, camera.seen.at_home) == (Fault.MOVED, False)


def test_a_slow_slide_is_found_out(camera):
    """A pole that gives way by a pixel a minute is followed, and all the same found to stand elsewhere in the end."""
    told = {}
    for step in range(24):
        told |= camera.show(60, scene.shifted(step, 0))
    assert Fault.MOVED in told


def test_a_moved_camera_stays_moved_until_the_view_is_accepted(camera):
    """Hours do not make a new view home; a person does, and from then on it is the one that counts."""
    there = scene.shifted(50, 20)
    camera.show(3600, there, key_s=10)
    assert (camera.seen.fault, camera.seen.at_home) == (Fault.MOVED, False)
    camera.health.accept()
    assert camera.health.home() is None
    camera.show(60, there)
    assert camera.health.home() is not None
    assert camera.seen == Seen(None, at_home=True)
    camera.show(60)
    assert camera.seen.fault is Fault.MOVED


def test_the_home_view_outlasts_a_restart(camera):
    """What was learned is kept as bytes: a camera that was turned while nothing ran is found out."""
    again = scene.Camera(PictureHealth(home=camera.health.home()), seed=8)
    assert set(again.show(60)) == {None}
    turned = scene.Camera(PictureHealth(home=camera.health.home()), seed=8)
    assert Fault.MOVED in turned.show(60, scene.shifted(60, 0))
    assert camera.health.home().views.dtype == np.uint8
    assert PictureHealth().home() is None


def test_a_dome_is_elsewhere_at_once_and_home_again_after_two_pictures(dome):
    """Away from home its zones are suspended from the first picture on; it is never called moved or covered."""
    for view in (lambda _: scene.hills(), scene.shifted(90, 0), scene.flat(60)):
        told = dome.show(80, view)
        assert told == {Fault.ELSEWHERE: 2.0}
        assert not dome.seen.at_home
        assert dome.pictures_until_good() == 2
        assert dome.seen.at_home


def test_a_dome_that_turns_all_the_time_is_elsewhere(dome):
    """While no view has stayed, none is home."""
    turning = scene.Camera(PictureHealth(patrols=True))
    for seed in range(20):
        turning.show(4, lambda _, seed=seed: scene.hills(seed))
    assert turning.seen == Seen(Fault.ELSEWHERE, at_home=False)


@pytest.fixture
def judged(monkeypatch):
    """The times at which a picture was judged in full are as many as there are entries in the list."""
    pictures = []
    monkeypatch.setattr(health, "look_at", lambda small: pictures.append(small) or look_at(small))
    return pictures


def test_a_camera_that_is_well_is_judged_in_full_now_and_then(camera, judged):
    """While nothing changes, every third key frame; what differs is judged at once, and so is what may be wrong."""
    camera.show(60)
    assert 9 <= len(judged) <= 12
    for change in (scene.covered(0.85), scene.blurred(1.2), scene.shifted(-8, 0), scene.flat(17)):
        camera.show(60)
        judged.clear()
        camera.show(8, change)
        assert len(judged) == 4


def test_an_accepted_view_is_learned_from_the_next_picture_on(camera, judged):
    """Though nothing changed since the last one that was judged."""
    camera.show(62)
    for wait_s in (0, 2, 4):
        camera.show(60 + wait_s)
        camera.health.accept()
        judged.clear()
        camera.show(4)
        assert len(judged) == 2


def test_a_dome_is_judged_at_each_key_frame(dome, judged):
    """It is elsewhere at once."""
    dome.show(20)
    assert len(judged) == 10


def test_a_camera_that_never_stands_still_is_not_moved():
    """Held in a hand, or in a car: there is no home view, and no zone could have been drawn."""
    held = scene.Camera(PictureHealth())
    for seed in range(60):
        assert set(held.show(2, lambda _, seed=seed: scene.hills(seed))) == {None}


def test_pictures_that_come_back_exactly_are_frozen(camera):
    """The very same picture for 20 s, the encoder running; two new pictures take it back."""
    still = camera.grab()
    camera.noise = 0.0
    told = camera.show(60, lambda _: still)
    assert 20 <= told[Fault.FROZEN] <= 24
    camera.noise = 0.6
    assert camera.pictures_until_good() == 2


def test_a_frozen_picture_under_a_running_clock_is_frozen(camera):
    """The clock that is written into the picture goes on: it is no sign of life."""
    still, numbers = camera.grab(), np.random.default_rng(2)
    camera.noise = 0.0

    def tick(_):
        out = still.copy()
        out[4:14, 200:300] = numbers.integers(0, 255, (10, 100))
        return out

    assert 20 <= camera.show(60, tick)[Fault.FROZEN] <= 24


def test_a_frozen_picture_that_the_encoder_codes_in_some_ways_is_frozen(camera):
    """It wanders between a few strengths, and comes back to each exactly."""
    ways = [camera.grab() for _ in range(3)]
    camera.noise = 0.0
    order = iter([0, 1, 1, 0, 0, 0, 2, 0, 1, 1, 1, 2, 0, 0, 1, 2, 2, 2, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
    assert Fault.FROZEN in camera.show(60, lambda _: ways[next(order)])


def noisy_camera():
    camera = scene.Camera(PictureHealth(), noise=1.2)
    assert set(camera.show(120)) == {None}
    return camera


def test_a_frozen_picture_that_the_encoder_never_codes_alike_is_frozen():
    """Nothing comes back exactly; but the noise in it is the same for ever, and only the encoder's own is new."""
    camera = noisy_camera()
    still = camera.grab()
    camera.noise = 0.5
    told = camera.show(90, lambda _: still)
    assert 30 <= told[Fault.FROZEN] <= 45
    camera.noise = 1.2
    assert camera.pictures_until_good() <= 3


def test_less_noise_is_not_frozen():
    """Lamps go on, and the sensor needs less gain; a better encoder; a little of both: the noise is new all the same."""
    for change in (None, scene.lit(1.1), scene.shifted(0.3, 0.1)):
        camera = noisy_camera()
        camera.noise = 0.6
        assert set(camera.show(300, change)) == {None}


def test_clouds_are_not_frozen():
    """The sun comes and goes, and with it a little of everything, not all of it in proportion; noise goes with the light."""
    camera = noisy_camera()
    for gain in (0.8, 1.0, 0.9, 1.05, 0.7, 1.0):
        camera.noise = 1.2 * gain
        assert set(
            camera.show(40, lambda luma, gain=gain: 16 + 220 * ((luma - 16.0).clip(0) / 220) ** (1 / gain))
        ) == {None}


def test_a_flash_or_a_lorry_does_not_hide_that_it_freezes():
    """What was learned of the camera's noise outlasts a change of light."""
    camera = noisy_camera()
    camera.show(4, scene.lit(1.8, 40))
    assert set(camera.show(30)) == {None}
    still = camera.grab()
    camera.noise = 0.5
    assert Fault.FROZEN in camera.show(90, lambda _: still)


def test_a_clip_that_is_played_over_and_over_is_not_frozen(camera):
    """Five pictures in turn: simulated cameras do that, and so does nothing that hangs."""
    turns = [camera.grab() for _ in range(5)]
    camera.noise, count = 0.0, iter(range(1000))
    assert set(camera.show(300, lambda _: turns[next(count) % 5])) == {None}


def test_a_frozen_picture_that_the_encoder_codes_in_turns_is_frozen(camera):
    """Four strengths in turn, none twice running: they differ by far less than the camera's noise did."""
    camera.show(40)
    still = camera.grab()
    turns = [
        np.clip(still.astype(np.int16) + (np.arange(320) % 7 == n), 0, 255).astype(np.uint8) for n in range(4)
    ]
    camera.noise, count = 0.0, iter(range(1000))
    assert Fault.FROZEN in camera.show(40, lambda _: turns[next(count) % 4])


def test_a_scene_without_noise_is_not_frozen_while_nothing_moves():
    """Something passes now and then; in between the picture is the same for a minute."""
    clean, count = scene.Camera(PictureHealth(), noise=0.0), iter(range(1000))

    def passing(luma):
        at = next(count) % 45
        out = luma.copy()
        if at < 15:
            out[100:130, 20 * at : 20 * at + 30] = 20
        return out

    assert set(clean.show(400, passing)) == {None}


def test_a_still_without_noise_is_frozen_in_the_end():
    """A recorder's "no signal" card, from the start: there is no proof of noise, but five minutes are enough."""
    card = scene.Camera(PictureHealth(), noise=0.0)
    told = card.show(400)
    assert 300 <= told[Fault.FROZEN] <= 310


def test_time_that_steps_back_harms_nothing(camera):
    """A stream that was opened anew may begin earlier: no fault comes of it, and faults are told all the same."""
    camera.at_mono_s = 0.0
    assert set(camera.show(60)) == {None}
    assert Fault.COVERED in camera.show(60, scene.covered(0.9))


def test_pictures_that_lean_on_others_say_nothing_of_freezing(camera):
    """Between key frames an encoder repeats by design: a still street is not frozen for that; a black one is black."""
    still = camera.grab()
    for index in range(60):
        assert camera.health.see(still, camera.at_mono_s + index, is_key=False).fault is None
    dark = np.full_like(still, 16)
    seen = [camera.health.see(dark, camera.at_mono_s + 60 + index, is_key=False) for index in range(20)]
    assert seen[-1].fault is Fault.BLACK


def test_other_sizes_of_the_world_are_seen_alike():
    """Upright, tiny and wide pictures come as the same small luma; contiguous or not."""
    health = PictureHealth()
    for index in range(20):
        wide = np.zeros((180, 640), np.uint8)
        wide[:, ::2] = cv2.add(scene.street(), index % 3)
        seen = health.see(wide[:, ::2], 2.0 * index)
    assert seen == Seen(None, at_home=True)


def test_a_dome_that_comes_home_to_a_wet_road_is_not_frozen():
    """It was away for an hour: what it compares noise with is what it finds, not what it left."""
    dome = scene.Camera(PictureHealth(patrols=True), noise=1.2)
    dome.show(200)
    assert set(dome.show(120, lambda _: scene.hills())) == {Fault.ELSEWHERE}
    dome.noise = 0.8
    wet = np.random.default_rng(6).normal(0, 0.8, (scene.HEIGHT, scene.WIDTH))
    assert set(dome.show(120, lambda luma: luma + wet)) <= {None, Fault.ELSEWHERE}
