# SPDX-License-Identifier: AGPL-3.0-or-later
"""The clips that measurements are made with, at a small size."""

import itertools
import sys
from pathlib import Path

import av
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
SMALL = {"size": (320, 180), "seconds": 4.0, "bit_rate": 300_000, "preset": "ultrafast"}


@pytest.fixture(autouse=True)
def footage(monkeypatch):
    """Have the benchmarks' module at hand, as their scripts have."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import footage as module

    yield module
    sys.modules.pop("footage", None)


@pytest.fixture
def film(footage, tmp_path):
    """Return a function that makes a clip and returns its path."""
    return lambda **fields: footage.quiet_clip(tmp_path / "street.mp4", footage.Footage(**SMALL | fields))


def read(path):
    """Return (codec, sizes of packets in bytes, indices of key pictures, luma planes in the order shown)."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        keys = [index for index, packet in enumerate(packets) if packet.is_keyframe]
        sizes = [packet.size for packet in packets]
        container.seek(0)
        planes = [frame.to_ndarray()[:180].astype(int) for frame in container.decode(video=0)]
        return container.streams.video[0].codec_context.name, sizes, keys, planes


def test_a_quiet_street_has_the_bit_rate_and_the_groups_asked_for(film):
    """Constant bit rate within a tenth, a key picture every two seconds, nothing but noise between pictures."""
    codec, sizes, keys, planes = read(film())
    assert codec == "h264"
    assert len(planes) == 100
    assert keys == [0, 50]
    assert 8 * sum(sizes) / 4 == pytest.approx(300_000, rel=0.1)
    assert 0.1 < np.mean([np.abs(b - a).mean() for a, b in itertools.pairwise(planes)]) < 6


def test_pictures_are_as_large_as_a_cameras(film):
    """What is measured with it are 97 KB a key picture and 18 KB each of the others, at 4.0 Mbit/s."""
    clip = film(size=(1920, 1080), seconds=4.08, bit_rate=4_000_000, preset="veryfast")
    with av.open(str(clip)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    key_bytes = [packet.size for packet in packets if packet.is_keyframe]
    others = [packet.size for packet in packets if not packet.is_keyframe]
    assert key_bytes == pytest.approx([97_000] * 3, rel=0.05)
    assert np.mean(others) == pytest.approx(18_300, rel=0.04)
    assert 8 * (np.mean(key_bytes) + 49 * np.mean(others)) / 2 == pytest.approx(4_000_000, rel=0.03)


def test_groups_may_vary(film):
    """Several lengths in turn."""
    _, _, keys, _ = read(film(gop_s=(0.4, 1.2)))
    assert keys == [0, 10, 40, 50, 80, 90]


@pytest.mark.parametrize(
    "fields", [{"codec": "hevc"}, {"b_frames": 2}, {"fps": 12.5}, {"noise": 0.0}, {"preset": "veryfast"}]
)
def test_other_codings_are_made(film, fields):
    """Each can be decoded whole."""
    codec, _, keys, planes = read(film(**fields))
    assert codec == fields.get("codec", "h264")
    assert keys[0] == 0
    assert len(planes) == 4 * fields.get("fps", 25)


def test_open_groups_and_intra_refresh_are_made(film, footage):
    """What cameras send beside closed groups."""
    for keys in (footage.Keys.OPEN, footage.Keys.INTRA_REFRESH):
        _, sizes, _, planes = read(film(keys=keys, b_frames=2 if keys is footage.Keys.OPEN else 0))
        assert len(sizes) == 100
        assert len(planes) == 100


@pytest.mark.parametrize("kind", ["walker", "car", "lorry", "headlights"])
def test_an_event_passes_at_its_seconds_and_not_before(footage, kind):
    """The pictures differ from the empty street in its time only."""
    event = footage.Event(kind, 1.0, 2.0)
    small = {"size": (320, 180), "seconds": 4.0, "noise": 0.0}
    empty = next(footage.pictures(footage.Footage(**small))).planes.astype(int)
    found = [
        int((np.abs(picture.planes - empty) > 8).sum())
        for picture in footage.pictures(footage.Footage(**small, events=[event]))
    ]
    seen = [index for index, count in enumerate(found) if count]
    assert found[50] > 50
    assert 25 <= seen[0] < seen[-1] < 75


def test_the_same_footage_is_the_same_pictures(footage):
    """Two runs can be compared."""
    spec = footage.Footage(**SMALL | {"seconds": 0.4})
    for one, two in zip(footage.pictures(spec), footage.pictures(spec), strict=True):
        assert (one.planes == two.planes).all()
