# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can be wrong with a picture, on single pictures."""

import numpy as np
import pytest

from gridwatch.simulator import treatments

ALL = {
    "noisy": lambda: treatments.noisy(2.0),
    "black": lambda: treatments.black(0.0),
    "washed_out": lambda: treatments.washed_out(0.1),
    "blurred": lambda: treatments.blurred(0.012),
    "covered": lambda: treatments.covered(0.9),
    "moved": lambda: treatments.moved(0.2, 0.1),
    "elsewhere": lambda: treatments.elsewhere,
}


@pytest.fixture
def picture(pictures):
    return pictures.scene(0)


def luma(planes):
    return planes[: planes.shape[0] * 2 // 3].astype(int)


def sharpness(planes):
    return np.abs(np.diff(luma(planes), axis=1)).mean()


@pytest.mark.parametrize("name", ALL)
def test_a_treatment_gives_another_picture_of_the_same_size_and_keeps_the_one_it_was_given(name, picture):
    """Whoever shows the same picture twice must find it unchanged."""
    before = picture.copy()
    treated = ALL[name]()(picture)
    assert (treated.shape, treated.dtype) == (picture.shape, np.uint8)
    assert (picture == before).all()
    assert (treated != before).any()


@pytest.mark.parametrize("size", [(64, 64), (180, 320), (270, 480), (1080, 1920)])
@pytest.mark.parametrize("name", ALL)
def test_a_treatment_works_at_any_even_size(name, size):
    """Both streams of a camera have the same fault."""
    height, width = size
    planes = np.full((height * 3 // 2, width), 90, np.uint8)
    assert ALL[name]()(planes).shape == planes.shape


def test_noise_is_another_one_for_each_picture_and_as_strong_as_asked(picture):
    """As a sensor's; the same again in the next run."""
    add = treatments.noisy(3.0)
    one, two = luma(add(picture)), luma(add(picture))
    assert (one != two).any()
    assert (one - luma(picture)).std() == pytest.approx(3.0, abs=0.3)
    again = treatments.noisy(3.0)
    assert (luma(again(picture)) == one).all()


def test_black_is_video_black_without_colour(picture):
    """Luma 16, chroma 128."""
    dark = treatments.black(0.0)(picture)
    assert (luma(dark) == 16).all()
    assert (dark[picture.shape[0] * 2 // 3 :] == 128).all()


def test_washed_out_is_near_white_with_little_contrast_left(picture):
    """A tenth of the differences, all within 22 levels of white."""
    white = luma(treatments.washed_out(0.1)(picture))
    assert white.min() >= 213
    assert white.max() <= 235
    assert np.ptp(white) == pytest.approx(0.1 * np.ptp(luma(picture)), abs=1)


def test_blur_takes_detail_and_keeps_brightness(picture):
    """Out of focus, not dark."""
    soft = treatments.blurred(0.05)(picture)
    assert sharpness(soft) < 0.4 * sharpness(picture)
    assert luma(soft).mean() == pytest.approx(luma(picture).mean(), abs=2)


def test_a_board_covers_as_much_as_asked_and_nothing_beside_it(picture):
    """It is dark, nearly without texture, and the same in every picture."""
    cover = treatments.covered(0.8)
    treated = cover(picture)
    edge = round(0.8 * picture.shape[1])
    board = luma(treated)[:, :edge]
    assert 30 <= board.min() <= board.max() <= 55
    assert board.std() > 0
    assert (luma(treated)[:, edge:] == luma(picture)[:, edge:]).all()
    assert (cover(picture) == treated).all()


def test_a_moved_view_is_the_same_scene_at_another_place(picture):
    """Shifted right and down by the shares asked for."""
    height, width = 112, 192
    shifted = luma(treatments.moved(0.25, 0.125)(picture))
    assert (shifted[14:, 48:] == luma(picture)[: height - 14, : width - 48]).all()
    back = luma(treatments.moved(-0.25, 0.0)(picture))
    assert (back[:, : width - 48] == luma(picture)[:, 48:]).all()


def test_elsewhere_shows_a_part_of_the_scene_that_cannot_be_taken_for_home(picture):
    """The lower right quarter, mirrored and enlarged."""
    away = luma(treatments.elsewhere(picture))
    quarter = luma(picture)[56:, 96:][:, ::-1]
    assert np.abs(away[::2, ::2] - quarter).mean() < 8
    assert np.corrcoef(away.ravel(), luma(picture).ravel())[0, 1] < 0.5
