# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras over real RTSP sessions, good ones and bad ones."""

import logging
import time
import traceback
from itertools import pairwise

import pytest

from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from gridwatch.simulator.rtsp.digest import Credentials
from ingest.decoder import KeyDecoder
from ingest.errors import (
    NotFoundError,
    SourceError,
    StreamEndedError,
    TimedOutError,
    UnauthorizedError,
    UnreachableError,
    UnsupportedCodecError,
)
from ingest.rtsp import RtspOptions, RtspSource

PASSWORD = "s3cret-Pa55"
QUICK = RtspOptions(stall_s=1.6, open_s=1.2)


def source_of(url, options=QUICK):
    return RtspSource("cam", SecretUrl(url), SystemClock(), options)


def failure_of(url, options=QUICK):
    """Open and read until it fails; return the error and how long that took."""
    began = time.monotonic()
    try:
        with source_of(url, options) as source:
            for _ in source.packets():
                pass
    except SourceError as error:
        return error, time.monotonic() - began
    pytest.fail("it did not fail")


def test_a_camera_opens_fast_and_its_key_frames_decode(camera_clip, serve):
    """The first packet is there within a second; every key frame decodes alone; times follow the pictures."""
    served = serve({"gate": camera_clip}, Credentials("admin", PASSWORD))
    began = time.monotonic()
    decoder, packets = KeyDecoder(), []
    with source_of(served.url(user=f"admin:{PASSWORD}@")) as source:
        for packet in source.packets():
            if not packets:
                assert time.monotonic() - began < 1.5
            packets.append(packet)
            if len(packets) == 16:
                break
        assert (source.info.codec, source.info.width, source.info.height) == ("h264", 320, 180)
    assert packets[0].is_key
    frames = [decoder.decode(packet) for packet in packets if packet.is_key]
    assert [(frame.width, frame.height) for frame in frames] == [(320, 180)] * len(frames)
    assert len(frames) >= 3
    times = [packet.at_mono_s for packet in packets]
    assert times == sorted(times)
    assert times[-1] - times[1] == pytest.approx(0.7, abs=0.15)
    assert all(time.monotonic() - 3 < at <= time.monotonic() for at in times)


def test_b_frames_and_large_pictures_come_through(make_clip, serve):
    """Key frames of many RTP packets and reordered pictures give the pictures of the clip."""
    clip = make_clip(size=(1280, 720), gop=8, pictures=32, b_frames=2, preset="veryfast", fps=25)
    served = serve({"gate": clip})
    with source_of(served.url()) as source:
        keys = []
        for packet in source.packets():
            keys += [packet] if packet.is_key else []
            if len(keys) == 3:
                break
    assert KeyDecoder().decode(keys[-1]).width == 1280


def test_a_loops_seam_does_not_disturb_the_times(make_clip, serve):
    """Where the clip starts again pts jumps by 10 s; our times go on evenly."""
    served = serve({"gate": make_clip(fps=20, gop=5, pictures=10)})
    with source_of(served.url()) as source:
        times = [packet.at_mono_s for packet, _ in zip(source.packets(), range(25), strict=False)]
    gaps = [later - earlier for earlier, later in pairwise(times[1:])]
    assert max(gaps) < 0.3
    assert min(gaps) >= 0


@pytest.mark.parametrize("user", ["admin:wrong-s3cret@", ""])
def test_a_wrong_password_is_told_and_not_shown(camera_clip, serve, user, caplog):
    """Refused is its own error; neither its text nor its traceback nor any log holds the password."""
    caplog.set_level(logging.DEBUG)
    served = serve({"gate": camera_clip}, Credentials("admin", PASSWORD))
    error, took_s = failure_of(served.url(user=user))
    assert isinstance(error, UnauthorizedError)
    assert took_s < 10
    shown = "".join(traceback.format_exception(error)) + repr(error) + caplog.text
    assert "wrong-s3cret" not in shown
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (["RTSP/1.0 404 Not Found"], NotFoundError),
        (["RTSP/1.0 403 Forbidden"], UnauthorizedError),
        (["RTSP/1.0 453 Not Enough Bandwidth"], UnreachableError),
        (["RTSP/1.0 503 Service Unavailable"], UnreachableError),
        (None, TimedOutError),
    ],
)
def test_each_refusal_has_its_error(scripted, answer, expected):
    """What a camera answers to DESCRIBE is told apart, and no error shows the password."""
    error, took_s = failure_of(scripted(answers={"DESCRIBE": answer}).url())
    assert type(error) is expected
    assert took_s < 10
    assert "s3cret" not in "".join(traceback.format_exception(error))


def test_nobody_there_is_unreachable(scripted):
    """A closed port and a name that does not exist fail at once."""
    camera = scripted()
    camera.close()
    for url in (camera.url(), "rtsp://admin:s3cret@camera.invalid/live"):
        error, _ = failure_of(url)
        assert type(error) is UnreachableError
        assert "s3cret" not in str(error)


def test_only_rtsp_addresses_are_opened(tmp_path):
    """A camera's address cannot make us read files or speak to other services."""
    for url in (str(tmp_path), f"file://{tmp_path}/x.mp4", "http://127.0.0.1/x", "concat:a|b"):
        error, _ = failure_of(url)
        assert error.reason == "the address is no rtsp:// or rtsps:// URL"


def test_what_does_not_speak_rtsp_is_unreachable(scripted):
    """A web server on the port is not waited for."""
    error, took_s = failure_of(scripted(greeting=b"HTTP/1.0 400 Bad Request\r\n\r\n" * 3).url())
    assert isinstance(error, UnreachableError | TimedOutError)
    assert took_s < 10


@pytest.mark.parametrize(
    "media", ["", "m=audio 0 RTP/AVP 0\r\na=control:t\r\n", "m=video 0 RTP/AVP 26\r\na=control:t\r\n"]
)
def test_a_stream_without_decodable_video_is_told(scripted, media):
    """No media, sound only, or a codec that is not decoded here."""
    error, took_s = failure_of(scripted(media).url())
    assert type(error) is UnsupportedCodecError
    assert took_s < 10


@pytest.mark.parametrize("reports", [False, True], ids=["silence", "reports-only"])
def test_a_camera_that_plays_and_sends_no_picture_is_given_up(scripted, reports):
    """PLAY is answered and no picture comes, with or without sender reports: an error within the bound."""
    error, took_s = failure_of(scripted(reports=reports).url())
    assert type(error) is TimedOutError
    assert took_s < QUICK.open_s + 10


def test_a_stream_that_stalls_is_given_up(camera_clip, serve):
    """The connection stays open and nothing comes any more: an error after the time allowed."""
    served = serve({"gate": camera_clip})
    with source_of(served.url()) as source:
        packets = source.packets()
        next(packets)
        served.freeze(2.5)
        began = time.monotonic()
        with pytest.raises(TimedOutError, match="nothing came"):
            list(packets)
    assert 1.4 < time.monotonic() - began < 12


def test_no_error_of_ours_holds_a_password():
    """Whoever raises one with an address in its reason shows no credentials."""
    error = UnreachableError("no answer from rtsp://admin:s3cret@10.0.0.7/live")
    assert "s3cret" not in repr(error) + str(error) + error.reason


def test_a_killed_server_ends_the_stream(camera_clip, serve):
    """FFmpeg ends its iterator as if the stream were over; we say that it ended."""
    served = serve({"gate": camera_clip})
    with source_of(served.url()) as source:
        packets = source.packets()
        next(packets)
        served.kill()
        with pytest.raises(StreamEndedError):
            list(packets)


def test_it_may_be_opened_again(camera_clip, serve):
    """Each opening is a session of its own, whichever object opens the camera."""
    served = serve({"gate": camera_clip})
    source, other = source_of(served.url()), source_of(served.url())
    sessions = []
    for opened in (source, source, other):
        with opened:
            sessions.append(next(opened.packets()).session)
    assert sessions == sorted(set(sessions))
