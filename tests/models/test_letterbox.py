# SPDX-License-Identifier: AGPL-3.0-or-later
import threading

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.letterbox import CELL_PX, GREY, Canvases, crop_density, fit, to_picture

sides = st.integers(1, 8000)
long_sides = st.integers(2, 60).map(lambda n: 32 * n)


@pytest.mark.parametrize(
    ("picture", "size", "part"),
    [
        ((1920, 1080), (640, 384), (640, 360)),
        ((1080, 1920), (384, 640), (360, 640)),
        ((2048, 1536), (640, 480), (640, 480)),
        ((1280, 1024), (640, 544), (640, 512)),
        ((704, 576), (640, 544), (640, 520)),
        ((352, 288), (640, 544), (640, 520)),
        ((1000, 1000), (640, 640), (640, 640)),
        ((3840, 1080), (640, 384), (640, 184)),
    ],
)
def test_usual_formats_get_the_expected_input(picture, size, part):
    """16:9, 4:3, 5:4, D1, square, portrait and panorama have their inputs."""
    where = fit(*picture)
    assert (where.width, where.height) == size
    assert (where.picture_width, where.picture_height) == part


@given(sides, sides, long_sides)
def test_any_picture_fits_with_its_shape(width, height, long_side):
    """The part lies in the input, covers whole cells, and is stretched by half a cell at most."""
    where = fit(width, height, long_side)
    assert max(where.width, where.height) == long_side
    assert where.width % 32 == where.height % 32 == 0
    assert where.picture_width % CELL_PX == where.picture_height % CELL_PX == 0
    assert 0 < where.picture_width <= where.width
    assert 0 < where.picture_height <= where.height
    scale = long_side / max(width, height)
    for side, part in ((width, where.picture_width), (height, where.picture_height)):
        assert abs(part - side * scale) <= CELL_PX / 2 or part == CELL_PX


def test_all_pictures_share_seven_inputs():
    """Whatever cameras send, seven sizes are compiled at most."""
    sizes = {(fit(w, h).width, fit(w, h).height) for w in range(16, 2000, 24) for h in range(16, 2000, 24)}
    assert len(sizes) == 7


@given(sides, sides, st.lists(st.floats(0, 1, width=32), min_size=4, max_size=4))
def test_a_box_comes_back_where_it_was(width, height, corners):
    """A normalised box laid into the input and mapped back is the same."""
    where = fit(width, height)
    box = np.sort(np.array(corners, np.float32).reshape(2, 2), axis=0).reshape(1, 4)
    laid = box * np.array([where.picture_width, where.picture_height] * 2, np.float32)
    np.testing.assert_allclose(to_picture(laid, where), box, atol=1e-6)


def test_a_box_that_leaves_the_picture_is_cut():
    """Boxes end at the picture's edges, also where they reach into the padding."""
    where = fit(1920, 1080)
    boxes = to_picture(np.array([[-5, -5, 320, 380]], np.float32), where)
    np.testing.assert_allclose(boxes, [[0, 0, 0.5, 1]])


@given(sides, sides)
def test_the_density_keeps_the_pictures_persons_and_none_of_the_padding(width, height):
    """Cropped cells cover exactly the picture, and their sum is the sum over it."""
    where = fit(width, height)
    density = np.zeros((where.height // 8, where.width // 8), np.float32)
    rows, columns = where.picture_height // 8, where.picture_width // 8
    density[:rows, :columns] = 0.25
    density[rows:, :] = density[:, columns:] = 100
    cropped = crop_density(density, where)
    assert cropped.shape == (rows, columns)
    assert cropped.sum() == pytest.approx(rows * columns / 4)


def test_the_input_equals_opencvs_conversion_and_the_rest_is_grey():
    """RGB, 0 to 1, planes first, and 114/255 outside the picture."""
    picture = np.random.default_rng(1).integers(0, 256, (360, 640, 3), np.uint8)
    images = Canvases().paint(picture, fit(1920, 1080))
    assert images.shape == (1, 3, 384, 640)
    assert images.dtype == np.float32
    expected = cv2.dnn.blobFromImage(picture, 1 / 255, swapRB=True)
    np.testing.assert_allclose(images[:, :, :360], expected, atol=1e-6)
    assert (images[:, :, 360:] == GREY).all()


def test_a_buffer_is_used_again_and_holds_nothing_of_the_picture_before():
    """One thread has one buffer an input size; another format of the same size leaves no old rows in it."""
    canvases = Canvases()
    first = canvases.paint(np.full((360, 640, 3), 255, np.uint8), fit(1920, 1080))
    assert canvases.paint(np.zeros((360, 640, 3), np.uint8), fit(1920, 1080)) is first
    panorama = canvases.paint(np.zeros((184, 640, 3), np.uint8), fit(3840, 1080))
    assert panorama is first
    assert (panorama[:, :, 184:] == GREY).all()
    assert (panorama[:, :, :184] == 0).all()


def test_every_thread_has_its_own_buffer():
    """Two threads never paint into the same memory."""
    canvases, painted = Canvases(), []
    picture = np.zeros((360, 640, 3), np.uint8)
    mine = canvases.paint(picture, fit(1920, 1080))
    other = threading.Thread(target=lambda: painted.append(canvases.paint(picture, fit(1920, 1080))))
    other.start()
    other.join()
    assert not np.shares_memory(mine, painted[0])
