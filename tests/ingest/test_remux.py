# SPDX-License-Identifier: AGPL-3.0-or-later
"""Packets into MP4."""

import io
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest import annexb
from ingest.errors import DamagedError
from ingest.packets import StreamInfo
from ingest.remux import remux_mp4, shown_and_decoded


def as_from_rtsp(packets):
    """The same packets as a camera sends them: start codes, no dts, the first without pts, a clock of 90 kHz."""
    info = packets[0].info
    sets = b"".join(annexb.START_CODE + unit for unit in annexb.parameter_sets(info.extradata, info.codec))
    wire = replace(info, extradata=sets, time_base=Fraction(1, 90_000))
    return [
        replace(
            packet,
            payload=annexb.to_annexb(packet.payload, info.extradata, info.codec),
            pts=None if i == 0 else round(packet.pts * info.time_base * 90_000) + 123_456,
            dts=None,
            info=wire,
        )
        for i, packet in enumerate(packets)
    ]


def played(data):
    with av.open(io.BytesIO(data)) as container:
        return [frame.time for frame in container.decode(video=0)]


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
@pytest.mark.parametrize("b_frames", [0, 2])
@pytest.mark.parametrize("wire", [False, True])
def test_every_picture_plays_at_its_time(make_clip, packets_of, codec, b_frames, wire):
    """A clip cut at a key frame plays whole, evenly, from 0, whether it came from a file or from a camera."""
    packets = packets_of(make_clip(codec=codec, gop=6, pictures=18, b_frames=b_frames, preset="medium"))[6:]
    data = remux_mp4(as_from_rtsp(packets) if wire else packets)
    assert played(data) == pytest.approx([i / 10 for i in range(12)], abs=0.001)
    assert data.index(b"moov") < data.index(b"mdat")


def test_packets_can_be_written_twice(make_clip, packets_of):
    """Packets stay in the ring as they were: the second clip equals the first."""
    packets = packets_of(make_clip())
    before = [(packet.pts, packet.dts, bytes(packet.payload)) for packet in packets]
    assert remux_mp4(packets) == remux_mp4(packets)
    assert [(packet.pts, packet.dts, packet.payload) for packet in packets] == before


def test_a_step_of_the_streams_clock_is_not_a_gap(make_clip, packets_of):
    """A camera that loops or restarts its clock gives a clip without a hole of hours."""
    packets = packets_of(make_clip(gop=5, pictures=20))
    tick = packets[0].info.time_base
    moved = [
        replace(p, pts=p.pts - round(9000 / tick), dts=None) if i >= 10 else p for i, p in enumerate(packets)
    ]
    assert played(remux_mp4(moved)) == pytest.approx([i / 10 for i in range(20)], abs=0.001)


@given(st.lists(st.one_of(st.none(), st.integers(-(2**40), 2**40)), min_size=1, max_size=50))
@settings(deadline=None)
def test_times_always_suit_a_muxer(all_pts):
    """Whatever pts a stream brings: shown from 0 on, dts rises, and no picture is decoded after it is shown."""
    info = StreamInfo("h264", 320, 180, b"", Fraction(1, 90_000), 25.0)
    packets = [_Timed(pts, info) for pts in all_pts]
    times = shown_and_decoded(packets)
    decoded = [dts for _, dts in times]
    assert min(pts for pts, _ in times) == 0
    assert all(later > earlier for earlier, later in pairwise(decoded))
    assert all(pts >= dts for pts, dts in times)


class _Timed:
    def __init__(self, pts, info):
        self.pts, self.info, self.is_key = pts, info, False


@pytest.mark.parametrize("first", [0, 1])
def test_without_a_key_frame_there_is_no_clip(make_clip, packets_of, first):
    """Nothing, or a start in the middle of a group, is refused."""
    packets = packets_of(make_clip())[1:5] if first else []
    with pytest.raises(DamagedError, match="key frame"):
        remux_mp4(packets)
