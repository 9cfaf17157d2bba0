# SPDX-License-Identifier: AGPL-3.0-or-later
"""A picture in which nothing is to be seen is covered, at whatever level; one in which little is to be seen is not."""

import pytest

from gridwatch.core.camera import Fault
from ingest.health import PictureHealth, Seen
from tests.ingest import street as scene


@pytest.mark.parametrize("level", [50, 140, 230])
def test_a_lens_that_shows_nothing_is_covered_though_no_view_was_learned(level):
    """At whatever level: from the start, until something is to be seen, be it what it may."""
    camera = scene.Camera(PictureHealth())
    told = camera.show(60, scene.flat(level))
    assert told == {None: 2.0, Fault.COVERED: 22.0}
    assert not camera.seen.at_home
    assert camera.health.home() is None
    camera.show(4, scene.lit(0.15, 60))
    assert camera.seen == Seen(None, at_home=True)


PALE = {
    "dense fog": scene.lit(0.08, 160),
    "dense fog in the dusk": scene.lit(0.08, 60),
    "snow in the air": scene.lit(0.1, 200),
    "overexposed by far": lambda luma: 235 - (235 - luma.clip(16, 235)) * 0.06,
    "the light of lamps on a wall": lambda luma: scene.slope(90, 160) + 0.06 * (luma - 128.0),
}


@pytest.mark.parametrize("change", PALE.values(), ids=PALE)
def test_a_pale_picture_with_something_in_it_is_not_covered(change):
    """Edges of a few steps of luma are enough, whether the view is known or not; it may be washed out."""
    unknown = scene.Camera(PictureHealth())
    assert Fault.COVERED not in unknown.show(60, change)
    assert unknown.health._plain.began_mono_s is None
    camera = scene.Camera(PictureHealth())
    camera.show(60)
    assert Fault.COVERED not in camera.show(60, change)
    assert camera.health._plain.began_mono_s is None
