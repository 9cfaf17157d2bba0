# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is wrong with a camera's picture is told again after a restart, from what a real file kept; what is well stays well."""

import numpy as np
import pytest

from gridwatch.app.homes import Homes
from gridwatch.core.camera import Camera, Fault
from gridwatch.core.redact import SecretUrl
from ingest.health import PictureHealth
from ingest.kept import Home
from tests.ingest import street as scene

CAMERA = Camera("gate", "南门", SecretUrl("rtsp://192.0.2.1/gate"))
LEARN_S = 120


@pytest.fixture
def restart(tmp_path):
    """Return a function that keeps what is known of a camera, and returns it as it is watched after a restart."""

    def restart(camera):
        Homes(tmp_path).save(CAMERA, camera.health.home())
        again = scene.Camera(
            PictureHealth(home=Homes(tmp_path).load(CAMERA)), camera.luma, camera.noise, seed=8
        )
        again.at_mono_s = 7.0  # of another clock
        return again

    return restart


def well_camera(noise=0.6):
    camera = scene.Camera(PictureHealth(), noise=noise)
    assert set(camera.show(LEARN_S)) == {None}
    return camera


FAULTS = [
    (Fault.BLURRED, scene.blurred(1.2), 35),
    (Fault.BLURRED, scene.blurred(4), 35),
    (Fault.COVERED, scene.covered(0.85), 25),
    (Fault.COVERED, scene.flat(50), 25),
    (Fault.COVERED, scene.flat(180), 25),
    (Fault.MOVED, scene.shifted(64, 18), 25),
]


@pytest.mark.parametrize("hours", [0, 1])
@pytest.mark.parametrize(("fault", "change", "within_s"), FAULTS)
def test_a_fault_is_told_again_after_a_restart(restart, fault, change, within_s, hours):
    """In the time that it took at first, however long it had lasted; and it is taken back as usual."""
    camera = well_camera()
    camera.show(60, change)
    camera.show(hours * 3600, change, key_s=10.0)
    assert camera.seen.fault is fault
    again = restart(camera)
    told = again.show(60, change)
    assert 10 <= told.pop(fault) <= within_s
    assert set(told) <= {None}
    assert again.pictures_until_good() <= 3
    assert again.seen.at_home


def test_a_picture_that_came_back_exactly_is_frozen_again_after_a_restart(restart):
    """The camera has shown noise before: five minutes without any are not needed."""
    camera = well_camera()
    still = camera.grab()
    camera.noise = 0.0
    assert Fault.FROZEN in camera.show(60, lambda _: still)
    again = restart(camera)
    assert 20 <= again.show(60, lambda _: still)[Fault.FROZEN] <= 24
    again.noise = 0.6
    assert again.pictures_until_good() == 2


def frozen_by_noise():
    camera = well_camera(noise=1.2)
    still = camera.grab()
    camera.noise = 0.5
    assert Fault.FROZEN in camera.show(90, lambda _: still)
    return camera, still


def test_a_picture_whose_noise_was_frozen_is_frozen_again_after_restarts(restart):
    """Nothing comes back exactly; its noise is that of the picture that was kept. A restart soon after a restart too."""
    camera, still = frozen_by_noise()
    hasty = restart(camera)
    assert set(hasty.show(10, lambda _: still)) == {None}
    again = restart(hasty)
    assert 30 <= again.show(90, lambda _: still)[Fault.FROZEN] <= 45
    again.noise = 1.2
    assert again.pictures_until_good() <= 3
    assert set(again.show(300)) == {None}
    assert again.health.home().usual.noise.still is None


def test_a_camera_that_was_mended_meanwhile_is_well(restart):
    """Its noise is not that of the frozen picture, though it may be less than before, and the road may be wet."""
    wet = np.random.default_rng(6).normal(0, 0.8, (scene.HEIGHT, scene.WIDTH))
    for noise, change in ((1.2, None), (0.6, None), (0.8, lambda luma: luma + wet), (0.8, scene.lit(1.1))):
        camera, _ = frozen_by_noise()
        mended = restart(camera)
        mended.noise = noise
        assert set(mended.show(120, change)) == {None}


OTHER_LIGHT = {
    "as it was": None,
    "brighter": scene.lit(1.3),
    "a dark night": scene.lit(0.2),
    "lamps": scene.lamps,
    "fog": scene.lit(0.25, 120),
    "half of it hidden": scene.covered(0.5),
}


@pytest.mark.parametrize("change", OTHER_LIGHT.values(), ids=OTHER_LIGHT)
@pytest.mark.parametrize("noise", [0.6, 2.0])
def test_a_well_camera_is_well_after_a_restart(restart, noise, change):
    """Also under another light, with more noise or less of it than it had before."""
    again = restart(well_camera(noise=1.2))
    again.noise = noise
    assert set(again.show(120, change)) == {None}
    assert again.seen.at_home
    assert set(again.show(60)) == {None}


def test_noise_that_was_another_before_a_restart_is_learned_anew(restart):
    """By day a picture froze whose camera was restarted by night: what was usual then does not stand in the way for ever."""
    camera = well_camera(noise=0.2)
    again = restart(camera)
    again.noise = 3.0
    again.show(240)
    still = again.grab()
    again.noise = 1.0
    assert Fault.FROZEN in again.show(120, lambda _: still)


def test_what_is_usual_is_taken_down_while_all_is_well_and_seldom(restart):
    """Once an hour: what changes in between would be written to the disk for each of a thousand cameras."""
    camera = well_camera()
    usual = camera.health.home().usual
    assert usual.known == 4
    for change in (None, scene.blurred(1.2), scene.covered(0.9)):
        camera.show(600, change, key_s=10.0)
        assert camera.health.home().usual is usual
    camera.show(3600, scene.blurred(1.2), key_s=10.0)
    assert camera.health.home().usual is usual
    camera.show(60)
    assert camera.health.home().usual is not usual


def test_nothing_of_an_old_view_outlasts_its_acceptance(restart):
    """The view that was accepted is less sharp and brighter: that is usual now, before a restart and after it."""
    camera = well_camera()

    def there(_):
        return scene.blurred(2)(scene.hills())

    camera.show(60, there)
    assert camera.seen.fault is Fault.MOVED
    camera.health.accept()
    assert camera.health.home() is None
    assert set(camera.show(LEARN_S, there)) == {None}
    assert set(restart(camera).show(60, there)) == {None}


def test_without_what_is_usual_a_home_view_is_worth_something(restart):
    """A camera that was restarted before more was known begins as one of which only the view is known."""
    camera = well_camera()
    camera.health = PictureHealth(home=Home(camera.health.home().views))
    again = restart(camera)
    assert set(again.show(60)) == {None}
    assert Fault.BLURRED in again.show(60, scene.blurred(1.2))
