# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is answered to which request in which state, without a socket."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridwatch.simulator.rtsp.digest import Credentials, DigestGate
from gridwatch.simulator.rtsp.media import ParameterSets, VideoMedia
from gridwatch.simulator.rtsp.session import Action, Conversation, State
from gridwatch.simulator.rtsp.transports import Datagrams, Interleaved
from gridwatch.simulator.rtsp.wire import Request

BASE = "rtsp://h:8554/gate-1"
TRACK = f"{BASE}/trackID=0"
SESSION = "00ff00ff00ff00ff"
TCP = ("Transport", "RTP/AVP/TCP;unicast;interleaved=0-1")
MINE = ("Session", SESSION)


class OneCamera:
    def media(self, path):
        sets = ParameterSets((b"\x67\x42\xc0\x0d",), (b"\x68\x01",))
        return VideoMedia(sets, 320, 240, 25.0) if path == "gate-1" else None


class Talk:
    """A conversation and the requests that it gets."""

    def __init__(self, gate=None):
        self.conversation, self.cseq = Conversation(OneCamera(), gate, SESSION), 0

    def __call__(self, method, url=BASE, *headers, body=b""):
        self.cseq += 1
        request = Request(method, url, (("CSeq", str(self.cseq)), *headers), body)
        answer = self.conversation.answer(request)
        assert dict(answer.response.headers)["CSeq"] == str(self.cseq)
        self.headers, self.body, self.action = (
            dict(answer.response.headers),
            answer.response.body,
            answer.action,
        )
        return answer.response.status


@pytest.fixture
def talk():
    return Talk()


@pytest.fixture
def playing():
    talk = Talk()
    assert talk("SETUP", TRACK, TCP) == 200
    assert talk("PLAY", f"{BASE}/", MINE) == 200
    return talk


def test_a_whole_session_goes_through_its_states(talk):
    """OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN: each is answered 200 and moves the state."""
    assert talk("OPTIONS") == 200
    assert "GET_PARAMETER" in talk.headers["Public"]
    assert talk("DESCRIBE", BASE, ("Accept", "application/sdp")) == 200
    assert talk.body.startswith(b"v=0\r\n")
    assert talk.headers["Content-Base"] == BASE + "/"
    assert talk("SETUP", TRACK, TCP) == 200
    assert talk.headers["Transport"] == "RTP/AVP/TCP;unicast;interleaved=0-1"
    assert talk.headers["Session"] == f"{SESSION};timeout=60"
    assert talk("PLAY", f"{BASE}/", MINE) == 200
    assert (talk.action, talk.conversation.state) == (Action.PLAY, State.PLAYING)
    assert talk("GET_PARAMETER", BASE, MINE) == 200
    assert talk("TEARDOWN", BASE, MINE) == 200
    assert (talk.action, talk.conversation.state) == (Action.STOP, State.INIT)


def test_a_second_play_starts_nothing_twice(playing):
    """It is answered and changes nothing."""
    assert playing("PLAY", BASE, MINE) == 200
    assert playing.action is Action.NONE


@pytest.mark.parametrize(
    ("transport", "status"),
    [
        ("RTP/AVP;unicast;client_port=5000-5001", 461),
        ("RTP/AVP/UDP;unicast;client_port=5000-5001", 461),
        ("RTP/AVP/TCP;multicast;interleaved=0-1", 461),
        ("RTP/AVP/TCP;unicast;interleaved=0-7", 461),
        ("RTP/AVP/TCP;unicast;interleaved=255-256", 461),
        ("", 461),
        ("RTP/AVP/TCP;unicast", 200),
        ("RTP/AVP/TCP;unicast;interleaved=4", 200),
        ("RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast;interleaved=2-3", 200),
    ],
)
def test_without_udp_ports_only_tcp_is_set_up(talk, transport, status):
    """UDP, multicast and impossible channels are answered 461; the first offer that fits is taken."""
    assert talk("SETUP", TRACK, ("Transport", transport)) == status


def test_the_channel_asked_for_is_used(talk):
    """A client that asks for channels 2 and 3 gets them."""
    talk("SETUP", TRACK, ("Transport", "RTP/AVP/TCP;interleaved=2-3"))
    assert talk.conversation.transport == Interleaved(2)
    assert talk.headers["Transport"].endswith("interleaved=2-3")


def test_udp_is_set_up_where_the_server_has_ports():
    """The answer names the ports of both sides."""
    talk = Talk()
    talk.conversation.udp = (6000, 6001)
    assert talk("SETUP", TRACK, ("Transport", "RTP/AVP;unicast;client_port=5000-5001")) == 200
    assert talk.conversation.transport == Datagrams((5000, 5001), (6000, 6001))
    assert talk.headers["Transport"] == "RTP/AVP;unicast;client_port=5000-5001;server_port=6000-6001"


@pytest.mark.parametrize("status", [401, 404, 453])
def test_a_refusal_is_numbered_and_changes_nothing(playing, status):
    """Whatever was asked; 401 comes with a challenge, as RFC 2326 wants it."""
    request = Request("TEARDOWN", BASE, (("CSeq", "7"), MINE))
    headers = dict(playing.conversation.refuse(request, status).headers)
    assert headers["CSeq"] == "7"
    assert ("WWW-Authenticate" in headers) == (status == 401)
    assert playing.conversation.state is State.PLAYING


@pytest.mark.parametrize(
    ("method", "url", "headers", "status"),
    [
        ("DESCRIBE", "rtsp://h/gate-2", (), 404),
        ("SETUP", "rtsp://h/gate-2/trackID=0", (TCP,), 404),
        ("SETUP", f"{BASE}/trackID=1", (TCP,), 404),
        ("SETUP", TRACK, (TCP, MINE), 454),
        ("DESCRIBE", BASE, (("Accept", "application/rtsl"),), 406),
        ("DESCRIBE", "http://h/gate-1", (), 400),
        ("PLAY", BASE, (), 455),
        ("PLAY", BASE, (MINE,), 454),
        ("TEARDOWN", BASE, (), 455),
        ("PAUSE", BASE, (), 405),
        ("RECORD", BASE, (), 405),
        ("DANCE", BASE, (), 501),
        ("OPTIONS", BASE, (("Require", "play.scale"),), 551),
    ],
)
def test_before_a_setup(talk, method, url, headers, status):
    """What is unknown, out of place or not served is answered with its own status."""
    assert talk(method, url, *headers) == status
    assert talk.action is Action.NONE


@pytest.mark.parametrize(
    ("method", "url", "headers", "status"),
    [
        ("SETUP", TRACK, (TCP,), 455),
        ("PLAY", BASE, (), 454),
        ("PLAY", BASE, (("Session", "1234"),), 454),
        ("PLAY", "rtsp://h/gate-2", (MINE,), 404),
        ("TEARDOWN", BASE, (("Session", "1234"),), 454),
        ("GET_PARAMETER", BASE, (("Session", "1234"),), 454),
    ],
)
def test_while_it_plays(playing, method, url, headers, status):
    """A playing session is not disturbed by requests that are not its own."""
    assert playing(method, url, *headers) == status
    assert playing.conversation.state is State.PLAYING
    assert playing.action is Action.NONE


def test_parameters_are_not_understood(playing):
    """GET_PARAMETER is a sign of life; asked for a parameter it says 451."""
    assert playing("GET_PARAMETER", BASE, MINE, body=b"position\r\n") == 451


def test_a_request_without_a_sequence_number_is_bad():
    """It is answered 400 all the same."""
    answer = Conversation(OneCamera(), None, SESSION).answer(Request("OPTIONS", "*"))
    assert answer.response.status == 400


@pytest.mark.parametrize("method", ["DESCRIBE", "SETUP", "PLAY", "GET_PARAMETER", "TEARDOWN"])
def test_without_credentials_everything_but_options_is_challenged(method):
    """Whether a camera exists is not told either."""
    talk = Talk(DigestGate(Credentials("viewer", "look"), "n"))
    assert talk("OPTIONS") == 200
    assert talk(method, "rtsp://h/nowhere") == 401
    assert talk.headers["WWW-Authenticate"].startswith("Digest ")


words = st.sampled_from([BASE, TRACK, f"{BASE}/", "*", "rtsp://h/gate-2", "rtsp://[", ""])
methods = st.sampled_from(["OPTIONS", "DESCRIBE", "SETUP", "PLAY", "GET_PARAMETER", "TEARDOWN", "PAUSE", "X"])
headers = st.lists(
    st.sampled_from([TCP, MINE, ("Session", "1"), ("Accept", "x"), ("Transport", ";;")]), max_size=3
)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(methods, words, headers), max_size=12))
def test_no_order_of_requests_breaks_a_conversation(steps):
    """It plays only after a SETUP, and an answer always comes."""
    talk, set_up = Talk(), False
    for method, url, extra in steps:
        status = talk(method, url, *extra)
        set_up = (set_up or (method == "SETUP" and status == 200)) and talk.action is not Action.STOP
        assert talk.action is not Action.PLAY or set_up
        assert (talk.conversation.path == "gate-1") == set_up
