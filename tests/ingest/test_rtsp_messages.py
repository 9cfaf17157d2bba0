# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers as cameras write them, cut anywhere, and what is no answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.rtsp_messages import LONGEST_BODY, LONGEST_HEAD, ProtocolError, parse, request

ANSWER = (
    b"RTSP/1.0 200 OK\r\nCSeq: 2\r\nContent-Type: application/sdp\r\nContent-Length: 7\r\n\r\nv=0\r\n\r\n"
)


def test_a_request_says_what_it_must():
    """Method, address, version, number, its own headers, and an empty line."""
    assert request("PLAY", "rtsp://h/x", 4, [("Session", "5")]) == (
        b"PLAY rtsp://h/x RTSP/1.0\r\nCSeq: 4\r\nUser-Agent: gridwatch\r\nSession: 5\r\n\r\n"
    )


def test_an_answer_may_come_in_pieces():
    """Each beginning of an answer waits for more; the whole is read up to its own end."""
    assert [parse(ANSWER[:size]) for size in range(len(ANSWER))] == [None] * len(ANSWER)
    for behind in (b"", b"$\x00\x00\x01x", ANSWER):
        answer, end = parse(ANSWER + behind)
        assert (answer.status, answer.body, end) == (200, b"v=0\r\n\r\n", len(ANSWER))
        assert answer.first("content-type") == "application/sdp"


@pytest.mark.parametrize("ends", [b"\n", b"\r\n"])
def test_headers_may_end_their_lines_in_either_way(ends):
    """As Unix does: the head ends at the first empty line, not at one in the body."""
    answer, _ = parse(b"RTSP/1.0 200 OK\nContent-Length: 10\n\nv=0\r\n\r\nt=0".replace(b"OK\n", b"OK" + ends))
    assert answer.body == b"v=0\r\n\r\nt=0"


def test_headers_that_come_twice_are_both_there():
    """A camera asks for two schemes in two lines; names are told apart by no case."""
    answer, _ = parse(
        b"RTSP/1.0 401 Unauthorized\r\nwww-authenticate:Digest a\r\nWWW-Authenticate: Basic b\r\n\r\n"
    )
    assert answer.all("www-authenticate") == ["Digest a", "Basic b"]
    assert answer.first("session") == ""


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"X",
        b"RTSP/1.0\r\n\r\n",
        b"RTSP/1.0 x\r\n\r\n",
        b"RTSP/1.0 2000 OK\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n" % (LONGEST_BODY + 1),
        b"RTSP/1.0 200 OK\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n",
        b"RTSP/1.0 200 OK\r\nX: " + b"x" * LONGEST_HEAD,
    ],
)
def test_what_is_no_answer_is_told(data):
    """Another protocol, no status, a length that cannot be, a head without end."""
    with pytest.raises(ProtocolError):
        parse(data)


@given(st.one_of(st.binary(), st.binary().map(lambda rest: b"RTSP/1.0 200 OK\r\n" + rest)))
def test_any_bytes_are_an_answer_or_refused(data):
    """Nothing else is raised, and nothing is read past the end."""
    try:
        parsed = parse(data)
    except ProtocolError:
        return
    assert parsed is None or parsed[1] <= len(data)
