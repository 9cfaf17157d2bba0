# SPDX-License-Identifier: AGPL-3.0-or-later
"""The byte-stream form of H.264 and H.265."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest import annexb
from ingest.errors import DamagedError

SPS, PPS, IDR = b"\x67\x64\x00\x1f\x01", b"\x68\xee\x3c", b"\x65\x88\x84"
AVCC = b"\x01\x64\x00\x1f\xff\xe1" + b"\x00\x05" + SPS + b"\x01\x00\x03" + PPS
VPS5, SPS5, PPS5, IDR5 = b"\x40\x01\x0c", b"\x42\x01\x01", b"\x44\x01\xc1", b"\x26\x01\xaf"
HVCC = (
    b"\x01\x01\x60\x00\x00\x00\x90\x00\x00\x00\x00\x00\x5d\xf0\x00\xfc\xfd\xf8\xf8\x00\x00\x0f\x03"
    + b"".join(bytes([0x80 | unit[0] >> 1, 0, 1, 0, 3]) + unit for unit in (VPS5, SPS5, PPS5))
)
units = st.lists(
    st.binary(min_size=1, max_size=40).map(lambda b: b"\x65" + b.replace(b"\x00", b"\x7f")), max_size=8
)


def lengths(*parts, width=4):
    return b"".join(len(part).to_bytes(width, "big") + part for part in parts)


def stream(*parts):
    return b"".join(annexb.START_CODE + part for part in parts)


@given(units)
def test_both_forms_hold_the_same_units(parts):
    """Units behind lengths and units behind start codes come apart into the same units."""
    assert list(annexb.split_lengths(lengths(*parts), 4)) == parts
    assert list(annexb.split_annexb(stream(*parts))) == parts


@given(st.binary(max_size=200), st.sampled_from(annexb.CODECS))
def test_no_bytes_crash_the_parsers(data, codec):
    """Whatever comes from outside ends in an answer or in DamagedError, never in another exception."""
    for call in (
        lambda: list(annexb.split_lengths(data, 4)),
        lambda: list(annexb.split_annexb(data)),
        lambda: annexb.parameter_sets(data, codec),
        lambda: annexb.parameter_sets(b"\x01" + data, codec),
        lambda: annexb.decodable_alone(data, b"\x01" + data, codec),
    ):
        try:
            call()
        except DamagedError as error:
            assert error.reason  # noqa: PT017  either outcome is right


def test_a_cut_length_is_damage():
    """A length that points past the end is not read as a shorter unit."""
    with pytest.raises(DamagedError, match="cut off"):
        list(annexb.split_lengths(lengths(IDR)[:-1], 4))


@pytest.mark.parametrize(
    ("extradata", "codec", "sets"),
    [
        (AVCC, "h264", [SPS, PPS]),
        (stream(SPS, PPS), "h264", [SPS, PPS]),
        (HVCC, "hevc", [VPS5, SPS5, PPS5]),
        (stream(VPS5, SPS5, PPS5), "hevc", [VPS5, SPS5, PPS5]),
        (b"", "h264", []),
    ],
)
def test_parameter_sets_are_found_in_every_form(extradata, codec, sets):
    """The sets stand in avcC, in hvcC or behind start codes."""
    assert annexb.parameter_sets(extradata, codec) == sets


@pytest.mark.parametrize(("extradata", "codec"), [(AVCC, "h264"), (HVCC, "hevc")])
def test_a_cut_configuration_is_damage(extradata, codec):
    """Each shorter record is refused, or gives fewer sets; none is read past its end."""
    with pytest.raises(DamagedError):
        annexb.parameter_sets(extradata[:-1], codec)


def test_a_key_frame_gets_the_sets_that_it_lacks():
    """MP4 keeps the parameter sets apart; a key frame that is decoded alone has them in front."""
    assert annexb.decodable_alone(lengths(IDR), AVCC, "h264") == stream(SPS, PPS, IDR)
    assert annexb.decodable_alone(lengths(IDR5), HVCC, "hevc") == stream(VPS5, SPS5, PPS5, IDR5)


def test_sets_in_band_win():
    """A camera that changes its size says so in the stream, not in the description that was sent before."""
    own = stream(b"\x67\x42\x00\x1e\x02", PPS, IDR)
    assert annexb.decodable_alone(own, stream(SPS, PPS), "h264") == own


def test_a_key_frame_without_any_sets_is_damage():
    """A shared decoder would use the sets of the camera before."""
    with pytest.raises(DamagedError, match="parameter sets"):
        annexb.decodable_alone(stream(IDR), b"", "h264")


def sei(*payload, kind=6):
    return bytes((6, kind, len(payload), *payload, 0x80))


@pytest.mark.parametrize(
    ("units", "later"),
    [
        ([SPS, PPS, IDR], False),
        ([sei(0b1_1000000), b"\x41\x9a\x02"], False),  # recovery_frame_cnt 0: an open group of pictures
        ([sei(0b010_00000), b"\x41\x9a\x02"], True),  # 1: the next picture is the first whole one
        ([sei(0b00000101, 0b1_1000000), b"\x41\x9a\x02"], True),
        ([sei(1, 2, 3, kind=5), sei(0b010_00000), b"\x41\x9a\x02"], True),
        ([b"\x41\x9a\x02", sei(0b010_00000)], False),  # behind the slice: the next picture's
        ([sei(0), b"\x41\x9a\x02"], False),  # cut off
        ([b"\x06\x06", b"\x41\x9a\x02"], False),
        ([], False),
    ],
)
def test_a_picture_that_only_begins_a_refresh_is_told(units, later):
    """By its recovery point (H.264 D.2.8), in both forms of the stream."""
    assert annexb.heals_later(stream(*units), b"", "h264") is later
    assert annexb.heals_later(b"".join(lengths(unit) for unit in units), AVCC, "h264") is later


def test_key_frames_of_h265_are_whole():
    """FFmpeg calls only its random access pictures key frames."""
    assert not annexb.heals_later(stream(VPS5, SPS5, PPS5, IDR5), b"", "hevc")


@given(st.binary(max_size=60))
def test_no_bytes_break_the_search_for_a_recovery_point(data):
    """Whatever a damaged stream holds."""
    assert annexb.heals_later(annexb.START_CODE + b"\x06" + data, b"", "h264") in (True, False)
