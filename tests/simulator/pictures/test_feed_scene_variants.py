# SPDX-License-Identifier: AGPL-3.0-or-later
"""Variants of a generated scene, which is coded while it is shown."""

import numpy as np
import pytest

from gridwatch.core.errors import InputError
from gridwatch.simulator.scene_feed import SceneFeed


class Yard:
    """A renderer: a square walks over a textured picture."""

    width, height, fps, gop_frames = 160, 96, 10.0, 5
    ground = np.random.default_rng(4).integers(60, 180, (12, 20, 3), np.uint8).repeat(8, 0).repeat(8, 1)

    def render(self, frame_index):
        picture = self.ground.copy()
        left = 8 * (frame_index % 16)
        picture[40:56, left : left + 16] = 235
        return picture


@pytest.fixture
def feed():
    made = SceneFeed(Yard())
    made.open(0.0)
    yield made
    made.close()


def test_a_variant_begins_with_the_next_key_picture(feed, pictures):
    """And ends with one; the stream goes on as one."""
    units = [feed.next_unit(0.0) for _ in range(3)]
    feed.show("black")
    units += [feed.next_unit(0.0) for _ in range(8)]
    assert feed.showing == "black"
    feed.show(None)
    units += [feed.next_unit(0.0) for _ in range(9)]
    assert feed.showing is None
    means = [plane.mean() for plane in pictures.lumas(units)]
    assert [mean < 18 for mean in means] == [False] * 5 + [True] * 10 + [False] * 5
    assert [index for index, unit in enumerate(units) if unit.is_key] == [0, 5, 10, 15]
    assert len({id(unit.media) for unit in units}) == 1


def test_a_frozen_scene_is_rendered_no_more(feed, pictures):
    """The square stands still at the place of the moment."""
    feed.next_unit(0.0)
    feed.show("freeze")
    units = [feed.next_unit(0.0) for _ in range(24)]
    shown = pictures.lumas(units[4:])
    assert max(np.abs(plane.astype(int) - shown[0]).mean() for plane in shown) < 1


def test_an_endless_group_of_a_scene_has_one_key_picture(feed, pictures):
    """It begins with one; the next comes when it is over."""
    feed.show("endless-gop")
    units = [feed.next_unit(0.0) for _ in range(30)]
    feed.show(None)
    units += [feed.next_unit(0.0) for _ in range(10)]
    assert [index for index, unit in enumerate(units) if unit.is_key] == [0, 30, 35]
    assert len(pictures.lumas(units)) == 40


@pytest.mark.parametrize("name", ["white", "blur", "cover", "move", "elsewhere"])
def test_faults_of_the_picture_are_had_by_scenes_too(feed, pictures, name):
    """The picture is another one, and moves."""
    plain = pictures.lumas([feed.next_unit(0.0) for _ in range(5)])
    feed.show(name)
    units = [feed.next_unit(0.0) for _ in range(10)]
    assert feed.showing == name
    assert np.abs(pictures.lumas(units)[0].astype(int) - plain[0]).mean() > 3


def test_a_dome_of_a_scene_comes_home_by_itself(feed):
    """Away for half a second and home for one, in turn."""
    feed.show("elsewhere", away_s=0.5, home_s=1.0)
    shown = []
    for _ in range(45):
        feed.next_unit(0.0)
        shown.append(feed.showing == "elsewhere")
    assert shown == ([True] * 5 + [False] * 10) * 3


@pytest.mark.parametrize("name", ["size", "fps", "codec", "gop", "b-frames", "open-gop", "intra-refresh"])
def test_a_scene_is_not_coded_otherwise_while_it_runs(feed, name):
    """The caller is told to use a clip."""
    with pytest.raises(InputError, match=f"a generated scene has no variant '{name}'; use a clip"):
        feed.show(name)
