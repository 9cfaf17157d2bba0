# SPDX-License-Identifier: AGPL-3.0-or-later
"""Small clips with a textured, moving scene, and what a client would see of a feed's units."""

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest

from gridwatch.simulator.coding import Coding, Keys, Picture, write_clip
from gridwatch.simulator.rtsp.media import with_parameter_sets

WIDTH, HEIGHT, FPS, GOP, FRAMES = 192, 112, 25, 10, 50


def scene(index, width=WIDTH, height=HEIGHT):
    """A picture (I420) of a textured yard in which a bright square walks; its place tells the picture's number."""
    rng = np.random.default_rng(9)
    ground = cv2.resize(rng.integers(40, 200, (14, 24), np.uint8), (width, height))
    planes = np.full((height * 3 // 2, width), 128, np.uint8)
    planes[:height] = ground
    planes[height:] = 120
    left = 3 * index % (width - 24)
    planes[height // 2 : height // 2 + 20, left : left + 20] = 230
    return planes


def make_clip(path, *, frames=FRAMES, **coding):
    """Write a clip of FRAMES / FPS seconds with a key picture every GOP pictures."""
    made = Coding(**{"width": WIDTH, "height": HEIGHT, "fps": Fraction(FPS), "bit_rate": 1_500_000} | coding)
    write_clip(path, made, (Picture(scene(i), i % GOP == 0) for i in range(frames)))
    return path


def annex_b(unit):
    """An access unit as a byte stream, parameter sets before a key picture."""
    media = unit.media
    nals = with_parameter_sets(unit.nals, media.parameter_sets, media.codec) if unit.is_key else unit.nals
    return b"".join(b"\x00\x00\x00\x01" + nal for nal in nals)


def lumas(units):
    """Decode units of one codec; return the luma planes in the order shown."""
    decoder = av.CodecContext.create(units[0].media.codec, "r")
    decoder.thread_count = 1
    frames = [frame for unit in units for frame in decoder.decode(av.Packet(annex_b(unit)))]
    return [f.to_ndarray()[: f.height] for f in (*frames, *decoder.decode(None))]


def take(feed, count, *, until=None):
    """Return the next `count` units, or (with `until`) all up to the first one that meets it, which must come."""
    units = []
    while len(units) < count:
        due_s = units[-1].due_s if units else 0.0
        units.append(feed.next_unit(due_s - 0.5))
        if until is not None and until(units[-1]):
            return units
    assert until is None, "it did not come"
    return units


class Tools:
    WIDTH, HEIGHT, FPS, GOP, FRAMES, Keys = WIDTH, HEIGHT, FPS, GOP, FRAMES, Keys
    scene = staticmethod(scene)
    make_clip = staticmethod(make_clip)
    annex_b = staticmethod(annex_b)
    lumas = staticmethod(lumas)
    take = staticmethod(take)


@pytest.fixture(scope="session")
def pictures():
    """The functions of this file, for tests (they cannot import it: tests are no package)."""
    return Tools


@pytest.fixture(scope="session")
def yard(tmp_path_factory):
    """A clip of 2 s: 50 pictures, a key picture every 0.4 s."""
    return make_clip(tmp_path_factory.mktemp("yard") / "yard.mp4")
