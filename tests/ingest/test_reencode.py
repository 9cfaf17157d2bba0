# SPDX-License-Identifier: AGPL-3.0-or-later
"""A clip taken apart into few pictures a second, and pictures made into a clip."""

import io

import av
import numpy as np
import pytest

from ingest.errors import DamagedError
from ingest.reencode import encode_mp4, pictures


def played(data):
    with av.open(io.BytesIO(data)) as container:
        return [
            (round(frame.time, 3), frame.to_ndarray(format="bgr24")) for frame in container.decode(video=0)
        ]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize(("fps", "expected"), [(5, 0.2), (4, 0.3), (50, 0.1)])
def test_at_most_so_many_pictures_a_second(make_clip, codec, fps, expected):
    """Ten a second become five, or what divides evenly below the bound; never more than there are."""
    shown = list(pictures(make_clip(codec=codec, pictures=20), fps, 100))
    assert [one.at_s for one in shown] == pytest.approx([i * expected for i in range(len(shown))], abs=0.001)
    assert len(shown) == -(-20 // round(expected * 10))
    assert (shown[0].frame.width, shown[0].frame.height) == (320, 180)


def test_a_clip_that_begins_later_begins_at_zero(make_clip, packets_of, tmp_path):
    """Its own clock is not told: the first picture is shown at 0."""
    source, late = make_clip(), tmp_path / "late.mp4"
    with av.open(source) as taken, av.open(late, "w") as container:
        stream = container.add_stream_from_template(taken.streams.video[0])
        for packet in taken.demux(video=0):
            if packet.dts is None:
                continue
            packet.pts, packet.dts, packet.stream = packet.pts + 50_000, packet.dts + 50_000, stream
            container.mux(packet)
    assert next(pictures(late, 5, 100)).at_s == 0


def test_what_is_too_long_or_no_clip_is_refused(make_clip, tmp_path):
    """A bound that the caller knows, and files that hold no picture."""
    with pytest.raises(DamagedError, match="more than 5"):
        list(pictures(make_clip(), 5, 5))
    nothing = tmp_path / "nothing.mp4"
    nothing.write_bytes(b"no clip")
    for clip in (nothing, tmp_path / "missing.mp4"):
        with pytest.raises(DamagedError, match="cannot be read"):
            list(pictures(clip, 5, 100))


def test_pictures_become_a_clip_that_a_browser_plays_as_it_comes():
    """Each at its time, close to what it was, H.264 in 4:2:0, the index in front."""
    rows, columns = np.mgrid[0:120, 0:160]
    made = [np.dstack([rows + i, columns, rows + columns]).astype(np.uint8) for i in range(7)]
    data = encode_mp4([(0.2 * i, picture) for i, picture in enumerate(made)], 5)
    found = played(data)
    assert [at_s for at_s, _ in found] == [0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2]
    for (_, shown), picture in zip(found, made, strict=True):
        assert np.abs(shown.astype(int) - picture).mean() < 6
    assert data.index(b"moov") < data.index(b"mdat")
    with av.open(io.BytesIO(data)) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")


def test_times_that_do_not_rise_are_moved_apart():
    """Two pictures at one time, as a stepping clock gives them, are both shown."""
    picture = np.zeros((64, 64, 3), np.uint8)
    assert len(played(encode_mp4([(0.0, picture), (0.0, picture), (0.1, picture)], 5))) == 3


def test_no_picture_is_no_clip():
    """An empty file would be taken for evidence."""
    with pytest.raises(DamagedError, match="needs a picture"):
        encode_mp4([], 5)
