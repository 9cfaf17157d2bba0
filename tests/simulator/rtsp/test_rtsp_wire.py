# SPDX-License-Identifier: AGPL-3.0-or-later
"""RTSP's bytes. The golden requests were sent by FFmpeg 8.1's client; broken ones are theirs, broken by hand."""

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.wire import (
    MAX_HEAD_BYTES,
    InterleavedFrame,
    Request,
    Response,
    RtspReader,
    url_path,
)

REQUESTS = ("options", "describe", "describe_digest", "setup", "play", "teardown")


def messages(data, size=None):
    reader, found = RtspReader(), []
    for at in range(0, len(data), size or len(data) or 1):
        reader.feed(data[at : at + (size or len(data))])
        while (message := reader.next_message()) is not None:
            found.append(message)
    return found


def test_a_request_of_a_real_client_is_read(golden):
    """Method, URL, path, sequence number and headers of FFmpeg's SETUP are found."""
    (request,) = messages(golden("rtsp_setup.bin"))
    assert (request.method, request.path, request.cseq) == ("SETUP", "gate-1/trackID=0", "4")
    assert request.header("transport") == "RTP/AVP/TCP;unicast;interleaved=0-1"
    assert request.header("Nothing") is None


@pytest.mark.parametrize("name", REQUESTS)
def test_a_request_survives_the_round_trip(golden, name):
    """Reading and writing a request gives the very same bytes."""
    data = golden(f"rtsp_{name}.bin")
    (request,) = messages(data)
    assert bytes(request) == data


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_messages_are_found_however_the_bytes_arrive(golden, size):
    """Requests and interleaved frames in a row are cut apart, whatever the pieces."""
    parts = [golden(f"rtsp_{name}.bin") for name in REQUESTS]
    parts.insert(3, golden("rtsp_interleaved_rr.bin"))
    found = messages(b"\r\n".join(parts), size)
    assert [bytes(message) for message in found] == parts
    assert isinstance(found[3], InterleavedFrame)
    assert found[3].channel == 1


@pytest.mark.parametrize(
    "name",
    ["rtsp_describe_digest_truncated.bin", "rtsp_body_truncated.bin", "rtsp_interleaved_rr_truncated.bin"],
)
def test_a_truncated_message_is_waited_for(golden, name):
    """What is not whole yet gives no message and no error."""
    assert messages(golden(name)) == []


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("rtsp_header_invalid.bin", 400),
        ("rtsp_version_invalid.bin", 505),
        ("rtsp_length_invalid.bin", 400),
        ("rtsp_body_invalid.bin", 413),
        ("rtsp_utf8_invalid.bin", 400),
    ],
)
def test_an_invalid_message_is_refused_with_its_status(golden, name, status):
    """Each kind of damage has its own RTSP status."""
    with pytest.raises(WireError) as caught:
        messages(golden(name))
    assert caught.value.status == status


def test_a_head_without_end_is_refused():
    """A client cannot make the server remember more than a head's limit."""
    with pytest.raises(WireError) as caught:
        messages(b"OPTIONS * RTSP/1.0\r\n" + b"X: y\r\n" * MAX_HEAD_BYTES, 100)
    assert caught.value.status == 413


def test_too_many_headers_are_refused():
    """The number of headers is bounded too."""
    with pytest.raises(WireError) as caught:
        messages(b"OPTIONS * RTSP/1.0\r\n" + b"X: y\r\n" * 65 + b"\r\n")
    assert caught.value.status == 413


@pytest.mark.parametrize(
    "line", [b"OPTIONS *", b"OPT IONS * RTSP/1.0", b"O\x00S * RTSP/1.0", b"(x) * RTSP/1.0"]
)
def test_a_bad_request_line_is_refused(line):
    """Only METHOD URL VERSION is a request line."""
    with pytest.raises(WireError):
        messages(line + b"\r\nCSeq: 1\r\n\r\n")


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_no_bytes_do_anything_but_give_messages_or_a_wire_error(data):
    """Whatever a client sends, nothing else is raised."""
    with suppress(WireError):
        for message in messages(data, 50):
            if isinstance(message, Request):
                _ = message.path


@settings(deadline=None)
@given(st.sampled_from(["rtsp://h/", "rtsp://h:1/", "", "*"]), st.text(max_size=30))
def test_any_url_has_a_path_or_is_refused(start, rest):
    """A URL never raises anything else."""
    with suppress(WireError):
        assert not url_path(start + rest).startswith("/")


def test_a_response_is_written_as_the_rfc_draws_it():
    """Status line, headers in order, length, body."""
    response = Response(200, (("Session", "12"),), b"v=0\r\n").with_headers(("CSeq", "3"))
    assert bytes(response) == b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 12\r\nContent-Length: 5\r\n\r\nv=0\r\n"
