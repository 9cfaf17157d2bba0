# SPDX-License-Identifier: AGPL-3.0-or-later
"""Faults of a running city, switched by its control channel and by flag, as clients notice them."""

import itertools
import json
import socket
import time
from contextlib import contextmanager

import av
import pytest

from gridwatch.core.errors import InputError
from gridwatch.simulator.city import City, CityCamera
from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.faults import parse_order
from gridwatch.simulator.shelf import ClipShelf

OWN = ("127.0.0.1", 0)


@pytest.fixture(scope="module")
def city(clip):
    shelf = ClipShelf()
    cameras = [
        CityCamera("yard", ClipFeed(clip, shelf=shelf), own=OWN),
        CityCamera("gate", ClipFeed(clip, 0.3, shelf=shelf)),
    ]
    return City(cameras)


@pytest.fixture(scope="module")
def ports(city, tools):
    with tools.city_running(city) as ports:
        yield ports


@pytest.fixture
def fault(tools, ports):
    """Switch a fault on for a while."""

    @contextmanager
    def on(name, camera="yard", **values):
        switch(name, camera, on=True, **values)
        try:
            yield
        finally:
            switch(name, camera, on=False)

    def switch(name, camera, **values):
        order = {"ask": "fault", "camera": camera, "fault": name, **values}
        answer = tools.ask(ports.control, json.dumps(order).encode())
        assert "error" not in answer, answer

    return on


def take(client, count=3):
    return list(itertools.islice(client.packets(), count))


def until_cut(client):
    """Read on until the connection ends; True when it does."""
    for _ in client.packets():
        pass
    return True


def wait_for(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_faults_and_where_they_are_on_are_listed(tools, ports, fault):
    """Each with its text and values; those that are on with theirs."""
    with fault("loss", share=0.0):
        answer = tools.ask(ports.control, b'{"ask": "faults"}')
    kinds = {kind["name"]: kind for kind in answer["faults"]}
    assert kinds["garbage"]["choices"] == {"mode": ["payload", "slices", "stream"]}
    assert kinds["freeze"]["about"] == "pictures"
    assert answer["on"] == {"yard": {"loss": {"after_s": 0.0, "for_s": 0.0, "share": 0.0, "seed": 1}}}
    assert tools.ask(ports.control, b'{"ask": "faults"}')["on"] == {}


@pytest.mark.parametrize(
    "ask",
    [
        {"fault": "loss", "camera": "attic", "on": True},
        {"fault": "quake", "camera": "*", "on": True},
        {"fault": "loss", "camera": "*"},
        {"fault": "loss", "camera": "*", "on": True, "share": "all"},
    ],
)
def test_a_wrong_ask_is_answered_with_what_is_wrong(tools, ports, ask):
    """And changes nothing."""
    assert "error" in tools.ask(ports.control, json.dumps({"ask": "fault", **ask}).encode())
    assert tools.ask(ports.control, b'{"ask": "faults"}')["on"] == {}


def test_a_drop_cuts_who_watches_that_camera_once(tools, ports, fault):
    """The other camera's viewers notice nothing, and the dropped one may come again."""
    with (
        tools.RawClient(ports.rtsp, "yard").play() as mine,
        tools.RawClient(ports.rtsp, "gate").play() as other,
    ):
        take(mine)
        with fault("drop"):
            assert until_cut(mine)
            viewers = {one["path"]: one["viewers"] for one in tools.ask(ports.control)["cameras"]}
            assert viewers["gate"] == 1
            assert len(take(other, 30)) == 30
        with tools.RawClient(ports.rtsp, "yard").play() as again:
            assert take(again)


def test_a_refusing_camera_closes_at_once_and_its_own_port(tools, ports, fault):
    """At the shared port a connection that asks for it is closed; its own port does not listen, and does again."""
    host, own = ports.own["yard"]
    with tools.RawClient(own, "yard").play() as before:
        take(before)
        with fault("refuse"):
            assert until_cut(before)
            wait_for(lambda: refuses(host, own))
            with tools.RawClient(ports.rtsp, "yard") as client, pytest.raises((EOFError, ConnectionError)):
                client.ask("OPTIONS")
            with tools.RawClient(ports.rtsp, "gate").play() as other:
                assert take(other)
    wait_for(lambda: not refuses(host, own))
    with tools.RawClient(own, "yard").play() as after:
        assert take(after)


def refuses(host, port):
    try:
        socket.create_connection((host, port), timeout=20).close()
    except ConnectionRefusedError:
        return True
    return False


def test_when_all_refuse_a_connection_is_closed_before_it_asks(tools, ports, fault):
    """At accept."""
    with (
        fault("refuse", "*"),
        tools.RawClient(ports.rtsp, "yard") as client,
        pytest.raises((EOFError, ConnectionError)),
    ):
        client._more()
    with tools.RawClient(ports.rtsp, "yard") as client:
        assert client.ask("OPTIONS")[0] == 200


def test_a_port_of_its_own_leads_to_one_camera_only(tools, ports):
    """Another path is not found there."""
    with tools.RawClient(ports.own["yard"][1], "gate") as client:
        assert client.ask("DESCRIBE")[0] == 404


@pytest.mark.parametrize(
    ("name", "status", "error"),
    [
        ("unauthorized", 401, av.error.HTTPUnauthorizedError),
        ("not-found", 404, av.error.HTTPNotFoundError),
        ("busy", 453, av.FFmpegError),
    ],
)
def test_a_status_answers_whatever_is_asked(tools, ports, fault, name, status, error):
    """FFmpeg knows it for what it is; who watched is cut."""
    with tools.RawClient(ports.rtsp, "yard").play() as before:
        take(before)
        with fault(name):
            assert until_cut(before)
            with tools.RawClient(ports.rtsp, "yard") as client:
                got, headers, _ = client.ask("OPTIONS")
            assert got == status
            assert ("WWW-Authenticate" in headers) == (status == 401)
            with pytest.raises(error), tools.watching(ports.rtsp, "yard", "viewer:look@"):
                pass


@pytest.mark.parametrize("udp", [False, True])
def test_a_stalled_camera_keeps_its_connections_and_says_nothing(tools, ports, fault, udp):
    """Neither to who watches nor to who comes; afterwards a new connection is served."""
    with tools.RawClient(ports.rtsp, "yard", udp=udp).play() as mine:
        take(mine)
        with fault("stall"):
            mine.wait_only(0.5)
            with pytest.raises(TimeoutError):
                take(mine, 2000)
            with tools.RawClient(ports.rtsp, "yard", timeout=0.3) as late, pytest.raises(TimeoutError):
                late.ask("OPTIONS")
    with tools.RawClient(ports.rtsp, "yard", udp=udp).play() as after:
        assert take(after)


def test_a_slow_loris_sends_a_byte_now_and_then(tools, ports, fault):
    """And all that is left of its answer at once when it ends."""
    with tools.RawClient(ports.rtsp, "yard") as client:
        with fault("slow-loris", every_s=0.05):
            client.connection.sendall(f"OPTIONS {client.url} RTSP/1.0\r\nCSeq: 1\r\n\r\n".encode())
            assert [len(client.connection.recv(100)) for _ in range(5)] == [1] * 5
        rest = b""
        while b"\r\n\r\n" not in rest:
            rest += client.connection.recv(4096)
        assert client.ask("OPTIONS")[0] == 200


def test_no_packets_after_play(tools, ports, fault):
    """PLAY is answered; sender reports come where that was asked for, RTP does not until the fault ends."""
    with tools.RawClient(ports.rtsp, "yard") as client:
        with fault("no-packets", reports=True):
            client.play()
            assert [client._frame()[0] for _ in range(4)] == [1] * 4
        assert take(client)


def test_a_silent_stream_goes_on_when_it_is_told(tools, ports, fault):
    """In the same connection, which answers meanwhile."""
    with tools.RawClient(ports.rtsp, "yard").play() as client:
        take(client)
        with fault("silent"):
            client.wait_only(0.5)
            with pytest.raises(TimeoutError):
                take(client, 2000)
            client.wait_only(20)
            assert client.ask("GET_PARAMETER")[0] == 200
        assert take(client)


def test_a_fault_can_begin_later_and_end_by_itself(tools, ports):
    """after_s and for_s are every fault's."""
    order = {"ask": "fault", "camera": "yard", "fault": "silent", "on": True, "after_s": 0.2, "for_s": 0.5}
    with tools.RawClient(ports.rtsp, "yard").play() as client:
        take(client)
        tools.ask(ports.control, json.dumps(order).encode())
        assert tools.ask(ports.control, b'{"ask": "faults"}')["on"] == {}
        wait_for(lambda: "yard" in tools.ask(ports.control, b'{"ask": "faults"}')["on"])
        wait_for(lambda: tools.ask(ports.control, b'{"ask": "faults"}')["on"] == {})
        assert take(client)


@pytest.mark.parametrize("udp", [False, True])
def test_packets_get_lost_on_both_ways(tools, ports, fault, udp):
    """Sequence numbers have gaps."""
    with fault("loss", share=0.3), tools.RawClient(ports.rtsp, "yard", udp=udp).play() as client:
        numbers = [packet.sequence for packet in take(client, 60)]
    assert any((b - a) % 65_536 > 1 for a, b in itertools.pairwise(numbers))


def test_loose_bytes_in_the_connection_are_not_rtp(tools, ports, fault):
    """A client must look for where the next packet begins."""
    with fault("garbage", mode="stream", share=0.5), tools.RawClient(ports.rtsp, "yard").play() as client:
        take(client, 20)
        assert client.strays > 100


def test_a_restart_is_another_source_in_the_same_session(tools, ports, fault):
    """Or after a cut, where that was asked for."""
    with tools.RawClient(ports.rtsp, "yard").play() as client:
        (first,) = take(client, 1)
        with fault("restart"):
            assert any(packet.ssrc != first.ssrc for packet in client.packets())
        with fault("restart", mode="reconnect"):
            assert until_cut(client)


def test_jumps_come_again_and_again_where_asked_for(tools, ports, fault):
    """Each by so many seconds."""
    with tools.RawClient(ports.rtsp, "gate").play() as client:
        take(client, 1)
        with fault("jump", "gate", by_s=1000.0, every_s=0.2):
            stamps = [packet.timestamp for packet in take(client, 100)]
    jumps = [b - a for a, b in itertools.pairwise(stamps) if b - a > 900 * 90_000]
    assert len(jumps) >= 2


def test_faults_by_flag_are_on_from_the_start(tools, clip):
    """And a camera that there is not is told before anything is served."""
    cameras = [CityCamera("yard", ClipFeed(clip))]
    with (
        tools.city_running(City(cameras, faults=[parse_order("busy@yard")])) as ports,
        tools.RawClient(ports.rtsp, "yard") as client,
    ):
        assert client.ask("OPTIONS")[0] == 453
    with pytest.raises(InputError, match="there is no camera 'attic'"):
        tools.open_and_close(City([CityCamera("a", ClipFeed(clip))], faults=[parse_order("busy@attic")]))
