# SPDX-License-Identifier: AGPL-3.0-or-later
"""H.265 as bytes and H.265 clips as cameras."""

import av
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp import h264, h265
from gridwatch.simulator.rtsp.media import ParameterSets, with_parameter_sets

VPS, SPS, PPS, IDR, DELTA = (
    b"\x40\x01\x0c",
    b"\x42\x01\x01",
    b"\x44\x01\xc1",
    b"\x28\x01\xaf",
    b"\x02\x01\xd0",
)
SETS = ParameterSets((SPS,), (PPS,), (VPS,))


def hvcc(*arrays, length_size=4):
    """A decoder configuration record (ISO/IEC 14496-15 section 8.3.3.1) with arrays of NAL units."""
    data = b"\x01" + bytes(20) + bytes((0xFC | (length_size - 1), len(arrays)))
    for nals in arrays:
        data += bytes((0x80 | h265.nal_type(nals[0]),)) + len(nals).to_bytes(2, "big")
        data += b"".join(len(nal).to_bytes(2, "big") + nal for nal in nals)
    return data


def test_the_header_of_an_mp4_is_read():
    """All three kinds of parameter sets, in whatever order of arrays, and the size of the lengths."""
    header = h265.parse_header(hvcc((SPS,), (PPS, PPS + b"\x01"), (VPS,), length_size=2))
    assert header.parameter_sets == ParameterSets((SPS,), (PPS, PPS + b"\x01"), (VPS,))
    assert header.length_size == 2
    assert header.parameter_sets.nals == (VPS, SPS, PPS, PPS + b"\x01")


def test_the_header_of_a_transport_stream_is_read():
    """Where start codes part the NAL units."""
    header = h265.parse_header(b"".join(b"\0\0\0\1" + nal for nal in (VPS, SPS, PPS)))
    assert header.parameter_sets == SETS
    assert header.length_size == 0


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01" * 22, hvcc((VPS,), (SPS,)), b"\0\0\1" + SPS])
def test_a_header_without_all_its_sets_is_refused(data):
    """Cut off, or without a PPS or a VPS."""
    with pytest.raises(WireError):
        h265.parse_header(data)


@given(st.integers(0, 200))
@settings(derandomize=True, max_examples=60)
def test_a_header_cut_anywhere_is_refused_or_whole(cut):
    """Never read past its end."""
    sets = ParameterSets((SPS,), (PPS + bytes(9),), (VPS,))
    data = hvcc(sets.vps, sets.sps, sets.pps)
    if cut >= len(data):
        assert h265.parse_header(data[:cut]).parameter_sets == sets
        return
    with pytest.raises(WireError):
        h265.parse_header(data[:cut])


@given(st.binary(max_size=80))
@settings(derandomize=True, max_examples=200)
def test_any_bytes_are_a_header_or_refused(tail):
    """No other error comes out."""
    for data in (tail, b"\x01" + bytes(20) + b"\xff" + tail):
        try:
            sets = h265.parse_header(data).parameter_sets
        except WireError:
            continue
        assert all((*sets.vps, *sets.sps, *sets.pps))


def test_parameter_sets_come_before_a_key_picture_once():
    """In front where there are none, after a delimiter, and not twice."""
    delimiter = b"\x46\x01\x10"
    assert with_parameter_sets((IDR,), SETS, "hevc") == (VPS, SPS, PPS, IDR)
    assert with_parameter_sets((delimiter, IDR), SETS, "hevc") == (delimiter, VPS, SPS, PPS, IDR)
    assert with_parameter_sets((VPS, SPS, PPS, IDR), SETS, "hevc") == (VPS, SPS, PPS, IDR)
    older = ParameterSets((b"\x67\x42\x00\x1f",), (b"\x68\xce",))
    assert with_parameter_sets((b"\x09\x10", b"\x65\x88"), older) == (b"\x09\x10", *older.nals, b"\x65\x88")
    assert with_parameter_sets((*older.nals, b"\x65"), older) == (*older.nals, b"\x65")


def test_key_pictures_are_those_of_random_access():
    """IDR and CRA, not the ones between."""
    assert h265.is_key((SPS, IDR))
    assert h265.is_key((b"\x2a\x01",))
    assert not h265.is_key((DELTA,))


@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv"])
def test_a_clip_in_h265_is_served(pictures, tmp_path, suffix):
    """Its packets unchanged, described as what they are, decodable over the seam."""
    clip = pictures.make_clip(tmp_path / f"yard.{suffix}", codec="hevc")
    feed = ClipFeed(clip)
    media = feed.open(0.0)
    units = [feed.next_unit(0.0) for _ in range(60)]
    feed.close()
    assert (media.codec, media.width, media.height, media.fps) == ("hevc", 192, 112, 25.0)
    assert [index for index, unit in enumerate(units) if unit.is_key] == [0, 10, 20, 30, 40, 50]
    assert units[50].nals == units[0].nals
    assert len(pictures.lumas(units)) == 60
    with av.open(str(clip)) as container:
        length = 0 if suffix == "ts" else 4
        own = [h264.split_nals(bytes(p), length) for p in container.demux(video=0) if p.size]
    assert [unit.nals for unit in units[:50]] == own


def test_open_groups_in_h265_begin_with_clean_random_access(pictures, tmp_path):
    """CRA pictures, which count as key pictures though pictures shown before them follow."""
    clip = pictures.make_clip(
        tmp_path / "open.mp4", codec="hevc", keys=pictures.Keys.OPEN, gop_s=0.8, b_frames=2
    )
    feed = ClipFeed(clip)
    feed.open(0.0)
    units = [feed.next_unit(0.0) for _ in range(50)]
    feed.close()
    later = [unit for unit in units[1:] if unit.is_key]
    assert later
    assert all(h265.NAL_CRA in {h265.nal_type(nal) for nal in unit.nals} for unit in later)
    kinds = {h265.nal_type(nal) for unit in units for nal in unit.nals}
    assert kinds & {h265.NAL_RASL_N, h265.NAL_RASL_R}
