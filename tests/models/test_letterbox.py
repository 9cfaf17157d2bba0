# SPDX-License-Identifier: AGPL-3.0-or-later
import threading

import av
import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.frame import DecodedFrame
from models.letterbox import CELL_PX, GREY, Canvases, PaintsItself, crop_density, fit, to_picture
from models.pictures import Picture

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


def plain(batch, height, width):
    return np.empty((batch, height, width, 3), np.uint8)


def test_a_picture_lies_at_the_top_left_and_the_rest_is_grey(as_frame):
    """Bytes in, bytes out: the picture unchanged, 114 beside it."""
    picture = np.random.default_rng(1).integers(0, 256, (360, 640, 3), np.uint8)
    canvas = Canvases(plain).paint([as_frame(picture)], [fit(640, 360)])
    assert (canvas.shape, canvas.dtype) == ((1, 384, 640, 3), np.uint8)
    np.testing.assert_array_equal(canvas[0, :360], picture)
    assert (canvas[0, 360:] == GREY).all()


def test_a_buffer_is_used_again_and_holds_nothing_of_the_picture_before(as_frame):
    """One thread has one buffer an input size; another format of the same size leaves no old rows in it."""
    canvases = Canvases(plain)
    first = canvases.paint([as_frame(np.full((360, 640, 3), 255, np.uint8))], [fit(1920, 1080)])
    again = canvases.paint([as_frame(np.zeros((360, 640, 3), np.uint8))], [fit(1920, 1080)])
    panorama = canvases.paint([as_frame(np.zeros((184, 640, 3), np.uint8))], [fit(3840, 1080)])
    assert np.shares_memory(first, again)
    assert np.shares_memory(first, panorama)
    assert (panorama[:, 184:] == GREY).all()
    assert (panorama[:, :184] == 0).all()


def test_pictures_of_a_batch_lie_side_by_side_each_with_its_own_padding(as_frame):
    """Formats of one input size share a canvas without touching each other."""
    canvases = Canvases(plain, batch=4)
    shades = [as_frame(np.full((360, 640, 3), 10, np.uint8)), as_frame(np.full((184, 640, 3), 20, np.uint8))]
    fits = [fit(640, 360), fit(640, 184)]
    for order in ([0, 1], [1, 0]):
        canvas = canvases.paint([shades[at] for at in order], [fits[at] for at in order])
        assert canvas.shape == (2, 384, 640, 3)
        for place, at in enumerate(order):
            rows = fits[at].picture_height
            assert (canvas[place, :rows] == [10, 20][at]).all()
            assert (canvas[place, rows:] == GREY).all()


def test_every_thread_has_its_own_buffer(as_frame):
    """Two threads never paint into the same memory."""
    canvases, painted = Canvases(plain), []
    frames, fits = [as_frame(np.zeros((360, 640, 3), np.uint8))], [fit(1920, 1080)]
    mine = canvases.paint(frames, fits)
    other = threading.Thread(target=lambda: painted.append(canvases.paint(frames, fits)))
    other.start()
    other.join()
    assert not np.shares_memory(mine, painted[0])


def test_a_frame_that_can_is_asked_to_paint_straight_into_the_canvas():
    """A picture in memory is scaled into the canvas by one call, without a copy between, in portrait too."""
    large = np.random.default_rng(2).integers(0, 256, (1280, 720, 3), np.uint8)
    canvas = Canvases(plain).paint([Picture(large)], [fit(720, 1280)])
    expected = cv2.resize(large, (360, 640), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(canvas[0, :, :360], expected)
    assert (canvas[0, :, 360:] == GREY).all()


def test_a_camera_s_frame_paints_itself():
    """What ingest decodes is taken as a frame that can, and lies in the canvas as its view has it."""
    frame = DecodedFrame(av.VideoFrame.from_ndarray(np.full((60, 100, 3), 90, np.uint8), "bgr24"))
    assert isinstance(frame, PaintsItself)
    canvas = Canvases(plain).paint([frame], [fit(100, 60)])
    np.testing.assert_array_equal(canvas[0, :384], frame.view(640, 384))


def test_a_view_of_another_size_than_asked_for_is_scaled():
    """A frame that gives what it has is no wrong box: the picture fills its place."""

    class Stubborn:
        def view(self, _width, _height):
            return np.full((7, 9, 3), 50, np.uint8)

    canvas = Canvases(plain).paint([Stubborn()], [fit(640, 360)])
    assert (canvas[0, :360] == 50).all()


def test_an_array_as_a_frame_has_luma_and_views():
    """A picture from a file can go through everything that a camera's frame can."""
    frame = Picture(np.full((30, 40, 3), (10, 200, 90), np.uint8))
    assert (frame.width, frame.height) == (40, 30)
    assert frame.view(20, 10).shape == (10, 20, 3)
    assert frame.luma().shape == (30, 40)
    assert frame.luma()[0, 0] == round(0.114 * 10 + 0.587 * 200 + 0.299 * 90)
