# SPDX-License-Identifier: AGPL-3.0-or-later
"""How a camera is asked to play, over real connections: what is said to it, and what is made of its answers."""

import socket
import time

import pytest

from gridwatch.core.clock import SystemClock
from gridwatch.core.redact import SecretUrl
from ingest.errors import StreamEndedError, TimedOutError, UnauthorizedError, UnreachableError
from ingest.rtsp_connection import Connection
from ingest.rtsp_messages import Response
from ingest.rtsp_session import NotUnderstoodError, Session
from tests.ingest.conftest import H264
from tests.ingest.rtsp_kit import framed, rtp

OK = "RTSP/1.0 200 OK"
TCP = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
PASSWORD = "s3cret-Pa55"


def session_of(answers_s=5.0):
    clock = SystemClock()
    return Session(clock, answers_s=answers_s, until_mono_s=clock.mono_s() + 10)


@pytest.fixture
def play():
    """Return a function that plays a camera, and hangs up at the end."""
    opened = []

    def start(url, **options):
        session = session_of(**options)
        opened.append(session)
        session.play(SecretUrl(url))
        return session

    yield start
    for session in opened:
        session.close()


def lines_of(camera):
    return [request.splitlines()[0] for request in camera.requests]


def header(request, name):
    return next(
        (line.split(": ", 1)[1] for line in request.splitlines() if line.startswith(f"{name}: ")), None
    )


def asks(*challenges, first=1, letting=lambda _: True):
    """A camera's answer to DESCRIBE that asks who wants to look; from the second request on, it may let in."""
    seen = []

    def answer(head):
        seen.append(head)
        if len(seen) > first and letting(head):
            return ()
        return ["RTSP/1.0 401 Unauthorized", *(f"WWW-Authenticate: {text}" for text in challenges)]

    return answer


def test_the_usual_way(scripted, play, until):
    """OPTIONS, DESCRIBE, SETUP of the track, PLAY of the whole, TEARDOWN; numbered, without user or password in the address."""
    camera = scripted()
    session = play(camera.url())
    session.close()
    until(lambda: len(camera.requests) == 5)
    base = f"rtsp://127.0.0.1:{camera.port}/live"
    assert lines_of(camera) == [
        f"OPTIONS {base} RTSP/1.0",
        f"DESCRIBE {base} RTSP/1.0",
        f"SETUP {base}/t RTSP/1.0",
        f"PLAY {base} RTSP/1.0",
        f"TEARDOWN {base} RTSP/1.0",
    ]
    assert [header(request, "CSeq") for request in camera.requests] == list("12345")
    assert [header(request, "Session") for request in camera.requests] == [None, None, None, "1", "1"]
    assert not any("s3cret" in request for request in camera.requests)


@pytest.mark.parametrize(
    ("said", "control", "track", "whole"),
    [
        ([], "", "{}", "{}"),
        ([], "trackID=1", "{}/trackID=1", "{}"),
        ([], "rtsp://10.0.0.9:554/a/trackID=1", "rtsp://10.0.0.9:554/a/trackID=1", "{}"),
        (["Content-Base: rtsp://10.0.0.9/a/"], "t", "rtsp://10.0.0.9/a/t", "rtsp://10.0.0.9/a/"),
        (
            ["Content-Location: rtsp://10.0.0.9/a?b=1"],
            "t",
            "rtsp://10.0.0.9/a?b=1/t",
            "rtsp://10.0.0.9/a?b=1",
        ),
        (["Content-Base: live/"], "t", "{}/t", "{}"),
    ],
    ids=["nothing", "relative", "absolute", "base", "query", "base-that-is-none"],
)
def test_where_a_track_is_set_up(scripted, play, said, control, track, whole):
    """Put together from the base that the camera names, or from what it was asked for, as cameras expect it."""
    media = H264.replace("a=control:t\r\n", f"a=control:{control}\r\n" if control else "")
    camera = scripted(media, {"DESCRIBE": [OK, *said]})
    play(camera.url())
    asked = f"rtsp://127.0.0.1:{camera.port}/live"
    assert [line.split()[1] for line in lines_of(camera)[2:4]] == [track.format(asked), whole.format(asked)]


def test_an_address_of_the_whole_is_the_base_of_its_tracks(scripted, play):
    """Where the description names one before its media; the track's own may be the end of it."""
    camera = scripted("a=control:rtsp://10.0.0.9/whole\r\n" + H264)
    play(camera.url())
    assert [line.split()[1] for line in lines_of(camera)[2:4]] == [
        "rtsp://10.0.0.9/whole/t",
        "rtsp://10.0.0.9/whole",
    ]


def test_a_query_is_part_of_the_address(scripted, play):
    """As it stands there: recorders tell channel and stream in it."""
    camera = scripted()
    play(camera.url().replace("/live", "/cam/realmonitor?channel=1&subtype=0"))
    assert lines_of(camera)[1].endswith("/cam/realmonitor?channel=1&subtype=0 RTSP/1.0")


@pytest.mark.parametrize(
    ("said", "channels"),
    [
        ("RTP/AVP/TCP;unicast;interleaved=0-1;ssrc=1", (0, 1)),
        ("RTP/AVP/TCP;interleaved=6-7;mode=play", (6, 7)),
        ("RTP/AVP/TCP;unicast;Interleaved = 2", (2, 3)),
        ("RTP/AVP/TCP;unicast;interleaved=4-9", (4, 9)),
        ("rtp/avp/tcp;unicast", (0, 1)),
    ],
)
def test_the_channels_are_the_cameras_choice(scripted, play, said, channels):
    """Those that it names; those that were asked for where it names none."""
    camera = scripted(answers={"SETUP": [OK, "Session: 1", f"Transport: {said}"]})
    assert play(camera.url()).channels == channels


@pytest.mark.parametrize(
    "answers",
    [
        {"SETUP": [OK, "Session: 1", "Transport: RTP/AVP;unicast;client_port=5000-5001"]},
        {"SETUP": [OK, "Session: 1", "Transport: RTP/AVP/TCP;interleaved=256-257"]},
        {"SETUP": [OK, "Session: 1"]},
        {"DESCRIBE": ["HTTP/1.0 400 Bad Request"]},
    ],
    ids=["udp", "no-channel", "no-transport", "no-rtsp"],
)
def test_what_is_not_understood_is_left_to_others(scripted, play, answers):
    """It says why, for the log."""
    with pytest.raises(NotUnderstoodError, match=r"\w+ \w+"):
        play(scripted(answers=answers).url())


@pytest.mark.parametrize(
    ("said", "name", "pause_s"),
    [
        ("5", "5", 24.0),
        ("abc;timeout=60", "abc", 24.0),
        ("abc ; Timeout = 30;x", "abc", 12.0),
        ("abc;timeout=0", "abc", 5.0),
        ("abc;timeout=" + "9" * 5000, "abc", 399_999.6),
    ],
)
def test_a_session_is_kept_within_its_time(scripted, play, until, said, name, pause_s):
    """Its name without what stands behind; a request well before it would end, and none before that."""
    camera = scripted(answers={"SETUP": [OK, f"Session: {said}", TCP]})
    session = play(camera.url())
    now = time.monotonic()
    session.tend(now + pause_s - 4)
    assert len(camera.requests) == 4
    session.tend(now + pause_s)
    until(lambda: len(camera.requests) == 5)
    assert header(camera.requests[-1], "Session") == name


def test_it_is_kept_by_what_the_camera_knows(scripted, play, until):
    """GET_PARAMETER where it says that it knows it; OPTIONS where not, or where it then refuses it."""
    knows = {"OPTIONS": [OK, "Public: OPTIONS, DESCRIBE", "Public: PLAY, get_parameter"]}
    for answers, method in (({}, "OPTIONS"), (knows, "GET_PARAMETER")):
        camera = scripted(answers=answers)
        session = play(camera.url())
        session.tend(time.monotonic() + 1000)
        until(lambda camera=camera: len(camera.requests) == 5)
        assert lines_of(camera)[-1].split()[0] == method
    session.answered(Response(501, (), b""))
    session.tend(time.monotonic() + 5000)
    until(lambda: len(camera.requests) == 6)
    assert lines_of(camera)[-1].split()[0] == "OPTIONS"


def test_a_refused_request_in_between_is_made_again(scripted, play, until):
    """With the new nonce, and soon: a session that is not kept ends."""
    old, new = 'Digest realm="r", nonce="old"', 'Digest realm="r", nonce="new"'
    camera = scripted(answers={"DESCRIBE": asks(old)})
    session = play(camera.url())
    session.answered(Response(401, (("www-authenticate", new),), b""))
    session.tend(time.monotonic())
    session.tend(time.monotonic() + 1.1)
    until(lambda: len(camera.requests) == 6)
    assert 'nonce="new"' in header(camera.requests[-1], "Authorization")


@pytest.mark.parametrize("user", ["ad%40min:p%40ss%3Aw%2Frd%25", "ad%40min:p@ss:w%2Frd%25"])
def test_user_and_password_are_decoded(scripted, play, user):
    """What cannot stand in an address is written with percent signs there; it reaches the camera as it is."""
    camera = scripted(answers={"DESCRIBE": asks('Basic realm="r"')})
    play(camera.url(user=f"{user}@"))
    assert header(camera.requests[2], "Authorization") == "Basic YWRAbWluOnBAc3M6dy9yZCU="


def test_a_wrong_password_is_sent_once(scripted, play):
    """Cameras lock accounts: neither another nonce nor another request is a reason for another try."""
    nonces = iter(range(100))

    def answer(_head):
        return ["RTSP/1.0 401 Unauthorized", f'WWW-Authenticate: Digest realm="r", nonce="{next(nonces)}"']

    for method in ("OPTIONS", "DESCRIBE"):
        camera = scripted(answers={method: answer})
        with pytest.raises(UnauthorizedError):
            play(camera.url())
        assert sum("Authorization" in request for request in camera.requests) == 1


def test_a_camera_that_takes_each_nonce_once_is_read(scripted, play):
    """A nonce that it refuses after it let us in is an old one, though it does not say so."""
    nonce = [0]

    def answer(head):
        if f'nonce="{nonce[0]}"' in head:
            nonce[0] += 1
            return ()
        return ["RTSP/1.0 401 Unauthorized", f'WWW-Authenticate: Digest realm="r", nonce="{nonce[0]}"']

    camera = scripted(answers=dict.fromkeys(("DESCRIBE", "SETUP", "PLAY"), answer))
    play(camera.url())
    assert nonce == [3]


def test_nonces_that_are_always_old_come_to_an_end(scripted, play):
    """A camera that calls each nonce stale is not asked for ever."""
    nonces = iter(range(10_000))

    def answer(_head):
        return [
            "RTSP/1.0 401 Unauthorized",
            f'WWW-Authenticate: Digest realm="r", nonce="{next(nonces)}", stale=true',
        ]

    camera = scripted(answers={"DESCRIBE": answer})
    with pytest.raises(UnauthorizedError):
        play(camera.url())
    assert len(camera.requests) <= 5


def test_a_camera_may_send_us_elsewhere(scripted, play):
    """With the user that we have for it, as it was written."""
    there = scripted(answers={"DESCRIBE": asks('Basic realm="r"')})
    here = scripted(answers={"DESCRIBE": ["RTSP/1.0 302 Found", f"Location: {there.url(user='')}"]})
    play(here.url(user="u:p%2540s@"))
    assert header(there.requests[2], "Authorization") == "Basic dTpwJTQwcw=="
    assert len(here.requests) == 2


def test_no_password_goes_to_another_host(scripted, play):
    """Whoever answers there could ask for it in clear; the one that was configured is for the one that was configured."""
    there = scripted(answers={"DESCRIBE": asks('Basic realm="r"')})
    elsewhere = there.url(user="").replace("127.0.0.1", "localhost")
    here = scripted(answers={"DESCRIBE": ["RTSP/1.0 302 Found", f"Location: {elsewhere}"]})
    with pytest.raises(UnauthorizedError):
        play(here.url())
    assert len(there.requests) == 2
    assert not any("Authorization" in request for request in there.requests)


@pytest.mark.parametrize(
    "location", ["", "http://127.0.0.1/", "rtsp://", "rtsp://h:99999/", "rtsps://h/", "//["]
)
def test_where_no_stream_is_we_do_not_go(scripted, play, location):
    """A redirection to no RTSP address is an error."""
    camera = scripted(answers={"DESCRIBE": ["RTSP/1.0 301 Moved", f"Location: {location}"]})
    with pytest.raises(UnreachableError, match="no address of a stream"):
        play(camera.url())


def test_a_camera_that_sends_us_to_itself_is_left(scripted, play):
    """After a few times."""
    camera = scripted(
        answers={"DESCRIBE": lambda _: ["RTSP/1.0 302 Found", f"Location: {camera.url(user='')}"]}
    )
    with pytest.raises(UnreachableError, match="from address to address"):
        play(camera.url())


def test_an_address_may_be_of_ipv6(play):
    """Its brackets stand in what is asked, and the connection goes there."""
    try:
        server = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6, not even to itself: there is nothing to connect to")
    with server:
        port = server.getsockname()[1]
        with pytest.raises(TimedOutError):
            play(f"rtsp://u:p@[::1]:{port}/live", answers_s=0.2)
        client, _ = server.accept()
        with client:
            assert client.recv(4096).startswith(b"OPTIONS rtsp://[::1]:%d/live RTSP/1.0\r\n" % port)


@pytest.mark.parametrize("piece", [1, 7])
def test_answers_may_come_byte_by_byte(scripted, play, piece):
    """And packets that come before PLAY's answer, with it; none is lost."""
    packets = [rtp(b"\x65\x88key", 1), rtp(b"\x41\x9ax", 2)]
    early = framed(packets[0]) + framed(packets[1], 1)
    session = play(scripted(streams=(early, b""), piece=piece).url())
    assert session.early == [(0, packets[0]), (1, packets[1])]


def test_an_empty_line_behind_an_answer_is_passed_over(scripted, play):
    """Some cameras end their bodies with a line more than they count."""
    session = play(scripted(greeting=b"\r\n\r\n").url())
    assert session.track.codec == "h264"


def test_early_packets_are_bounded(scripted, play):
    """A camera that sends without answering PLAY fills no memory."""
    flood = framed(b"") * 300_000
    session = play(scripted(streams=(flood, b"")).url())
    assert 0 < len(session.early) < 40_000


def test_a_camera_that_hangs_up_is_told(scripted, play):
    """After the first request, without an answer."""

    def hang_up(_head):
        raise ConnectionError

    with pytest.raises(StreamEndedError, match="without an answer"):
        play(scripted(answers={"OPTIONS": hang_up}).url())


@pytest.mark.parametrize(
    "greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"SSH-2.0-x\r\n", b"\x15\x03\x01\x00\x02"]
)
def test_what_speaks_another_language_is_told(scripted, play, greeting):
    """A web server, a shell, TLS."""
    with pytest.raises(UnreachableError, match="does not speak RTSP"):
        play(scripted(greeting=greeting).url())


def test_an_answer_that_never_ends_is_given_up(scripted, play):
    """Within the time of one answer, though bytes come all the time."""
    slow = b"RTSP/1.0 200 OK\r\nX: "
    with pytest.raises(TimedOutError):
        play(scripted(greeting=slow, answers={"OPTIONS": None}).url(), answers_s=0.3)


def test_hanging_up_waits_for_nobody(monkeypatch):
    """A camera that reads nothing any more is told goodbye only if that takes no time."""
    monkeypatch.setattr("ingest.rtsp_connection._SEND_WITHIN_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection = Connection("127.0.0.1", server.getsockname()[1], within_s=5, wait_s=0.1)
        with pytest.raises(StreamEndedError):
            connection.send(bytes(32 << 20))
        began = time.monotonic()
        connection.close(b"TEARDOWN")
        assert time.monotonic() - began < 1.5
