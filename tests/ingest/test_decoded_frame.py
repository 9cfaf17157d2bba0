# SPDX-License-Identifier: AGPL-3.0-or-later
"""Decoded pictures over FFmpeg's planes."""

import threading
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from ingest.frame import DecodedFrame, Shrinker

TASKS = Path("/proc/self/task")


def slope(width, height):
    return np.add.outer(np.arange(height), np.arange(width)).astype(np.uint8)


def frame_of(luma, pixel_format="yuv420p"):
    video = av.VideoFrame(luma.shape[1], luma.shape[0], pixel_format)
    for plane in video.planes:
        plane.update(np.full(plane.buffer_size, 128, np.uint8))
    rows = np.zeros((video.planes[0].height, video.planes[0].line_size), np.uint8)
    rows[:, : luma.shape[1]] = luma
    video.planes[0].update(rows)
    return DecodedFrame(video)


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p", "nv12", "yuv422p", "gray"])
@pytest.mark.parametrize("size", [(320, 180), (322, 178), (99 * 2, 50)])
def test_luma_is_the_plane_without_its_padding(pixel_format, size):
    """Lines in memory are longer than the picture is wide; what is returned is not, and is not copied twice."""
    luma = slope(*size)
    frame = frame_of(luma, pixel_format)
    assert np.array_equal(frame.luma(), luma)
    assert frame.luma() is frame.luma()
    assert not frame.luma().flags.writeable


def test_ten_bit_pictures_give_eight_bit_luma():
    """Formats with more bits are converted: (height, width) uint8 all the same."""
    wide = av.VideoFrame.from_ndarray(slope(320, 180), "gray").reformat(format="yuv420p10le")
    luma = DecodedFrame(wide).luma()
    assert (luma.shape, luma.dtype) == ((180, 320), np.uint8)
    assert np.corrcoef(luma.ravel(), slope(320, 180).ravel())[0, 1] > 0.99


def test_a_view_is_scaled_once():
    """The network and an alert's picture want the same view: the last one is kept."""
    frame = frame_of(slope(320, 180))
    view = frame.view(160, 96)
    assert (view.shape, view.dtype) == ((96, 160, 3), np.uint8)
    assert frame.view(160, 96) is view
    assert frame.view(64, 32).shape == (32, 64, 3)
    assert not view.flags.writeable


@pytest.mark.parametrize("size", [(160, 96), (152, 88), (320, 180)])
def test_a_picture_painted_into_memory_is_the_view_and_is_not_kept(size):
    """The network's canvas gets the very pixels of the view, at any place in it; a frame that waits holds no copy."""
    frame, width, height = frame_of(slope(320, 180)), *size
    canvas = np.full((height + 8, width + 8, 3), 114, np.uint8)
    frame.paint(canvas[:height, :width])
    assert frame._view is None
    view = frame.view(width, height)
    assert np.array_equal(canvas[:height, :width], view)
    assert (canvas[height:] == 114).all()
    assert (canvas[:, width:] == 114).all()
    again = np.zeros((height, width, 3), np.uint8)
    frame.paint(again)
    assert np.array_equal(again, view)
    assert frame.view(width, height) is view


def test_colours_come_out_blue_green_red():
    """Red in the picture is the last of the three channels."""
    red = np.zeros((64, 64, 3), np.uint8)
    red[..., 0] = 255
    view = DecodedFrame(av.VideoFrame.from_ndarray(red, "rgb24").reformat(format="yuv420p")).view(32, 32)
    assert view[..., 2].mean() > 240
    assert view[..., :2].mean() < 15


def test_jpeg_keeps_the_shape_and_the_limit():
    """At most so wide, never enlarged."""
    for size, expected in (((1280, 720), (360, 640, 3)), ((320, 180), (180, 320, 3))):
        data = np.frombuffer(frame_of(slope(*size)).jpeg(640), np.uint8)
        assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == expected


def test_threads_may_ask_the_same_picture():
    """Scaling to two sizes from many threads gives each its own size."""
    frame = frame_of(slope(640, 360))
    wrong = []

    def ask(width):
        wrong.extend(1 for _ in range(40) if frame.view(width, 90).shape[1] != width)

    threads = [threading.Thread(target=ask, args=(width,)) for width in (80, 96, 112, 128)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_reduced_picture_keeps_its_shape_and_a_small_one_is_itself():
    """What is kept per camera is small: at most 640 wide, sides even, never enlarged."""
    reduced = frame_of(slope(1918, 1078)).reduced()
    assert (reduced.width, reduced.height) == (640, 360)
    small = frame_of(slope(320, 180))
    assert small.reduced() is small


@pytest.fixture
def landscape():
    rng = np.random.default_rng(3)
    land = cv2.GaussianBlur(rng.normal(0, 1, (2160, 3840)).astype(np.float32), (0, 0), 12)
    return (120 + 900 * land).clip(16, 235).astype(np.uint8)


@pytest.mark.parametrize(
    "size",
    [(1080, 1920), (720, 1280), (2160, 3840), (1440, 2560), (288, 352), (577, 1023), (180, 320), (90, 160)],
)
def test_a_small_picture_is_the_average_of_the_large_one(landscape, size):
    """Of every size that cameras have, lines in memory longer than the picture is wide; nothing is made of its own range."""
    shrinker, luma = Shrinker(), cv2.resize(landscape, size[::-1], interpolation=cv2.INTER_AREA)
    padded = np.zeros((size[0], size[1] + 64), np.uint8)
    padded[:, : size[1]] = luma
    small = shrinker.shrink(padded[:, : size[1]], 320, 180)
    expected = cv2.resize(luma, (320, 180), interpolation=cv2.INTER_AREA)
    assert (small.shape, small.dtype) == ((180, 320), np.uint8)
    assert np.abs(small.astype(int) - expected).mean() < 1
    for level in (16, 235):
        assert (shrinker.shrink(np.full(size, level, np.uint8), 320, 180) == level).all()


def test_noise_vanishes_as_in_the_average():
    """Lines that are left out cost nothing that is to be seen: sensor noise of 8 levels is below 2.5 in the small picture."""
    rng = np.random.default_rng(4)
    small = Shrinker().shrink(rng.normal(120, 8, (1080, 1920)).clip(0, 255).astype(np.uint8), 320, 180)
    assert small.std() < 2.5


@pytest.mark.skipif(
    not TASKS.exists(), reason="a process's threads are counted in /proc, which this system does not have"
)
def test_nobody_starts_threads_to_scale(landscape):
    """There are many cameras and few cores: FFmpeg's scaler would start one for each core."""
    before = len(list(TASKS.iterdir()))
    shrinker, frame = Shrinker(), frame_of(slope(1920, 1080))
    shrinker.shrink(landscape, 320, 180)
    frame.view(640, 360)
    assert len(list(TASKS.iterdir())) == before


def test_one_shrinker_serves_cameras_of_many_sizes(landscape):
    """In turn, and what it keeps for sizes is bounded."""
    shrinker = Shrinker()
    sizes = [(200 + 20 * n, 400 + 32 * n) for n in range(20)]
    for height, width in sizes + sizes[::-1]:
        assert shrinker.shrink(landscape[:height, :width], 320, 180).shape == (180, 320)
    assert len(shrinker._scalers) == 8
