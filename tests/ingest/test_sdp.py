# SPDX-License-Identifier: AGPL-3.0-or-later
"""Descriptions as cameras of many makers write them, and nonsense."""

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.annexb import START_CODE
from ingest.errors import UnsupportedCodecError
from ingest.sdp import first_video

SPS, PPS = b"\x67\x4d\x00\x2a\x9d\xa8\x1e", b"\x68\xee\x3c\x80"
B64 = ",".join(base64.b64encode(unit).decode() for unit in (SPS, PPS))
SESSION = "v=0\r\no=- 1 1 IN IP4 10.0.0.9\r\ns=Media Presentation\r\nt=0 0\r\n"

RECORDER = f"""{SESSION}a=control:rtsp://10.0.0.9:554/Streaming/Channels/101/
m=video 0 RTP/AVP 96
b=AS:5000
a=recvonly
a=x-dimensions:1920,1080
a=control:rtsp://10.0.0.9:554/Streaming/Channels/101/trackID=1
a=rtpmap:96 H264/90000
a=fmtp:96 profile-level-id=420029; packetization-mode=1; sprop-parameter-sets={B64}
a=Media_header:MEDIAINFO=494D4B48010100
m=audio 0 RTP/AVP 8
a=control:rtsp://10.0.0.9:554/Streaming/Channels/101/trackID=2
"""
DOME = f"""{SESSION}a=control:*
a=range:npt=now-
a=packetization-supported:DH
m=video 0 RTP/AVP 98
a=control:trackID=0
a=framerate:25.000000
a=rtpmap:98 H264/90000
a=fmtp:98 packetization-mode=1;profile-level-id=4D002A;sprop-parameter-sets={B64}
"""
AUDIO_FIRST = f"""{SESSION}m=audio 0 RTP/AVP 0
a=rtpmap:0 PCMU/8000
a=control:track1
a=framerate:7
m=video 0 RTP/AVP 97
a=rtpmap:97 h264/90000
a=control: track2
"""
MOTION_JPEG_FIRST = f"""{SESSION}m=video 0 RTP/AVP 26
a=control:jpeg
m=video 0 RTP/AVP 96
a=rtpmap:96 H264/90000
a=control:better
"""
TWO_FORMATS = f"""{SESSION}m=video 0 RTP/AVP 26 35
a=rtpmap:35 H265/90000
"""


@pytest.mark.parametrize(
    ("text", "kind", "control", "aggregate", "fps"),
    [
        (
            RECORDER,
            96,
            "rtsp://10.0.0.9:554/Streaming/Channels/101/trackID=1",
            "rtsp://10.0.0.9:554/Streaming/Channels/101/",
            None,
        ),
        (DOME, 98, "trackID=0", "*", 25.0),
        (AUDIO_FIRST, 97, "track2", "", None),
        (MOTION_JPEG_FIRST, 96, "better", "", None),
        (TWO_FORMATS, 35, "", "", None),
    ],
    ids=["recorder", "dome", "audio-first", "jpeg-first", "two-formats"],
)
def test_the_video_that_can_be_decoded_is_found(text, kind, control, aggregate, fps):
    """Whatever stands before it: its payload type, where it is set up, and its rate are its own."""
    track = first_video(text)
    assert (track.payload_type, track.control, track.aggregate, track.fps) == (kind, control, aggregate, fps)
    assert track.clock_hz == 90_000
    assert not track.reordered


def test_lines_may_end_in_any_way():
    """Windows', Unix' and mixed line ends say the same."""
    text = DOME.replace("\r\n", "\n")
    assert first_video(text) == first_video(text.replace("\n", "\r\n")) == first_video(DOME)


@pytest.mark.parametrize(
    "said",
    [
        f"a=fmtp:96 sprop-parameter-sets={B64}",
        f"a=fmtp:96 Sprop-Parameter-Sets = {B64} ;packetization-mode=1;",
        f"a=fmtp:96 packetization-mode=1\r\na=fmtp:96 sprop-parameter-sets={B64}",
        f"a=fmtp:96\tsprop-parameter-sets={B64.replace('=', '')}",
        f'a=fmtp:96 sprop-parameter-sets="{B64}"',
        f"a=fmtp:96 sprop-parameter-sets={B64},!",
    ],
    ids=["plain", "odd-case", "two-lines", "no-padding", "quoted", "a-rest"],
)
def test_parameter_sets_are_read_however_they_are_written(said):
    """Case, spaces, several lines, left-out padding, quotes."""
    track = first_video(f"{SESSION}m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n{said}\r\n")
    assert track.extradata.removesuffix(START_CODE) == START_CODE + SPS + START_CODE + PPS


@pytest.mark.parametrize("said", ["", "A", "é", "====", ",,,", "%%%"])
def test_parameter_sets_that_are_nonsense_are_left_out(said):
    """They come in band then; a description is not refused for them."""
    text = f"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=fmtp:96 sprop-parameter-sets={said}\n"
    assert first_video(text).extradata == b""


def test_the_three_sets_of_h265_stand_in_their_order():
    """VPS, SPS, PPS, whatever the order in which they are said."""
    names = {"sprop-pps": b"\x44\x01", "sprop-vps": b"\x40\x01", "sprop-sps": b"\x42\x01"}
    said = "; ".join(f"{name}={base64.b64encode(unit).decode()}" for name, unit in names.items())
    track = first_video(f"m=video 0 RTP/AVP 96\na=rtpmap:96 H265/90000\na=fmtp:96 {said}\n")
    assert track.codec == "hevc"
    assert track.extradata == START_CODE.join((b"", b"\x40\x01", b"\x42\x01", b"\x44\x01"))


@pytest.mark.parametrize(
    ("said", "fps"),
    [
        ("25", 25.0),
        ("29.97", 29.97),
        ("0", None),
        ("-5", None),
        ("90000", None),
        ("nan", None),
        ("inf", None),
        ("x", None),
    ],
)
def test_a_rate_is_believed_within_reason(said, fps):
    """Zero, negative, absurd and unreadable rates are as good as none."""
    text = f"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/90000\na=framerate:{said}\n"
    assert first_video(text).fps == fps


@pytest.mark.parametrize("clock", ["", "0", "x", "-1", "9" * 5000])
def test_a_clock_that_cannot_be_is_the_usual_one(clock):
    """Timestamps of video are of 90 kHz (RFC 6184, 8.1)."""
    assert first_video(f"m=video 0 RTP/AVP 96\na=rtpmap:96 H264/{clock}\n").clock_hz == 90_000


@pytest.mark.parametrize(
    ("codec", "said"),
    [
        ("H264", "packetization-mode=2"),
        ("H265", "sprop-max-don-diff=3"),
    ],
)
def test_packets_in_another_order_are_told(codec, said):
    """Interleaved mode is not read by us: who asks is told so."""
    text = f"m=video 0 RTP/AVP 96\na=rtpmap:96 {codec}/90000\na=fmtp:96 {said}\n"
    assert first_video(text).reordered
    assert not first_video(text.replace("=2", "=1").replace("=3", "=0")).reordered


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "there is no video in the stream"),
        ("m=audio 0 RTP/AVP 0\n", "there is no video in the stream"),
        (
            "m=video 0 RTP/AVP 96\na=rtpmap:96 MP4V-ES/90000\n",
            "MP4V-ES is not decoded here, only H.264 and H.265",
        ),
        ("m=video 0 RTP/AVP 26\n", "what is sent is not decoded here, only H.264 and H.265"),
        (f"m=video 0 RTP/AVP {'9' * 5000}\na=rtpmap:{'9' * 5000} H264/90000\n", "H264 is not decoded here"),
    ],
)
def test_what_cannot_be_decoded_is_named(text, reason):
    """No media, sound alone, another codec, a format that is no payload type."""
    with pytest.raises(UnsupportedCodecError) as refused:
        first_video(text)
    assert refused.value.reason.startswith(reason)


LINES = st.sampled_from(RECORDER.splitlines() + DOME.splitlines() + TWO_FORMATS.splitlines())


@given(st.one_of(st.text(), st.lists(st.one_of(LINES, st.text())).map("\n".join)))
def test_any_text_is_a_track_or_refused(text):
    """Nothing else is raised, whatever a camera writes."""
    with suppress(UnsupportedCodecError):
        assert first_video(text).codec in {"h264", "hevc"}


@given(st.data())
def test_a_description_with_a_hole_is_a_track_or_refused(data):
    """A camera's text, with something else in the middle of it."""
    at = data.draw(st.integers(0, len(RECORDER)))
    upto = data.draw(st.integers(at, min(len(RECORDER), at + 40)))
    with suppress(UnsupportedCodecError):
        first_video(RECORDER[:at] + data.draw(st.text(max_size=20)) + RECORDER[upto:])
