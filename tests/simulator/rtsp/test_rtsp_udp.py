# SPDX-License-Identifier: AGPL-3.0-or-later
"""RTP over UDP on real sockets, with a plain client and with FFmpeg's own."""

import asyncio
import itertools
import socket
import time

import av
import pytest

from gridwatch.simulator.city import City, CityCamera
from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.broadcast import Burst
from gridwatch.simulator.rtsp.digest import Credentials
from gridwatch.simulator.rtsp.payload import join_payloads
from gridwatch.simulator.rtsp.tamper import Door
from gridwatch.simulator.rtsp.transports import Datagrams, Interleaved, choose_transport
from gridwatch.simulator.rtsp.udp import UdpPorts, UdpViewer


@pytest.fixture(scope="module")
def ports(clip, tools):
    with tools.city_running(City([CityCamera("yard", ClipFeed(clip))])) as ports:
        yield ports


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("RTP/AVP;unicast;client_port=5000-5001", Datagrams((5000, 5001), (6000, 6001))),
        ("RTP/AVP/UDP;unicast;client_port=5000-5001", Datagrams((5000, 5001), (6000, 6001))),
        ("RTP/AVP;unicast;client_port=5000", Datagrams((5000, 5001), (6000, 6001))),
        ("RTP/AVP;multicast;client_port=5000-5001,RTP/AVP/TCP;interleaved=2-3", Interleaved(2)),
        ("RTP/AVP;unicast,RTP/AVP/TCP;unicast", Interleaved(0)),
        ("RTP/AVP/TCP;interleaved=0-1,RTP/AVP;client_port=5000-5001", Interleaved(0)),
    ],
)
def test_the_first_offer_that_can_be_served_is_chosen(header, chosen):
    """UDP with the client's ports, or TCP with two neighbouring channels; never multicast."""
    assert choose_transport(header, (6000, 6001)) == chosen


@pytest.mark.parametrize("ports", ["0-1", "65535", "65536-65537", "5000-5000", "x", "5000-99999"])
def test_ports_that_are_none_are_refused(ports):
    """A port is 1 to 65535, and RTCP has another one than RTP."""
    with pytest.raises(WireError):
        choose_transport(f"RTP/AVP;unicast;client_port={ports}", (6000, 6001))


def test_a_server_without_datagrams_serves_tcp_only():
    """A client that offers both gets TCP, one that offers UDP alone is refused."""
    both = "RTP/AVP;unicast;client_port=5000-5001,RTP/AVP/TCP;unicast;interleaved=2-3"
    assert choose_transport(both, None) == Interleaved(2)
    with pytest.raises(WireError):
        choose_transport("RTP/AVP;unicast;client_port=5000-5001", None)


def test_whole_pictures_and_reports_come_as_datagrams(tools, ports):
    """In order, from the ports that SETUP told, the first of them a report and a key picture."""
    with tools.RawClient(ports.rtsp, "yard", udp=True).play() as client:
        packets = list(itertools.islice(client.packets(), 60))
        assert "server_port=" in client.transport
    assert [(b.sequence - a.sequence) % 65_536 for a, b in itertools.pairwise(packets)] == [1] * 59
    first = list(itertools.takewhile(lambda packet: packet.timestamp == packets[0].timestamp, packets))
    assert [nal[0] & 0x1F for nal in join_payloads([packet.payload for packet in first])][:2] == [7, 8]
    assert client.reports[0].ssrc == packets[0].ssrc
    assert client.reports[0].timestamp == packets[0].timestamp


def test_ffmpeg_watches_over_udp(ports):
    """It decodes every picture, and packets carry the camera's clock."""
    options = {"rtsp_transport": "udp", "timeout": "5000000", "analyzeduration": "1"}
    with av.open(f"rtsp://127.0.0.1:{ports.rtsp}/yard", options=options) as container:
        packets = list(itertools.islice((p for p in container.demux(video=0) if p.size), 25))
        pictures = [frame for packet in packets for frame in packet.decode()]
    assert len(pictures) >= 24
    wall_s = int.from_bytes(bytes(packets[-1].get_sidedata("prft"))[:8], "little") / 1e6
    assert abs(wall_s - time.time()) < 20


def test_the_end_of_the_connection_ends_the_datagrams(tools, ports):
    """Nobody is sent datagrams whose session is gone."""
    with tools.RawClient(ports.rtsp, "yard", udp=True).play() as client:
        next(client.packets())
        assert tools.ask(ports.control)["cameras"][0]["viewers"] == 1
        client.connection.close()
        deadline = time.monotonic() + 10
        while tools.ask(ports.control)["cameras"][0]["viewers"] and time.monotonic() < deadline:
            time.sleep(0.02)
        assert tools.ask(ports.control)["cameras"][0]["viewers"] == 0


def test_datagrams_need_the_password_too(tools, clip):
    """Authentication comes before the choice of the transport."""
    city = City([CityCamera("yard", ClipFeed(clip))], credentials=Credentials("viewer", "look"))
    with tools.city_running(city) as ports, tools.RawClient(ports.rtsp, "yard", udp=True) as client:
        assert (
            client.ask("SETUP", f"{client.url}/trackID=0", Transport="RTP/AVP;client_port=5000-5001")[0]
            == 401
        )


class Ears:
    """Two sockets of a client, inside a loop's test."""

    def __enter__(self):
        self.rtp, self.rtcp = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
        for one in (self.rtp, self.rtcp):
            one.bind(("127.0.0.1", 0))
            one.setblocking(False)
        return self

    def __exit__(self, *_):
        self.rtp.close()
        self.rtcp.close()

    def viewer(self, ports, door=None):
        pair = (self.rtp.getsockname()[1], self.rtcp.getsockname()[1])
        return UdpViewer(ports, "127.0.0.1", Datagrams(pair, ports.pair), door or Door(), lambda: None)

    def waiting(self):
        count = 0
        while True:
            try:
                self.rtp.recv(2048)
            except BlockingIOError:
                return count
            count += 1


def in_loop(test):
    """Run a coroutine function with a pair of open ports."""

    async def main():
        ports = UdpPorts.open("127.0.0.1")
        try:
            return await test(ports)
        finally:
            ports.close()

    return asyncio.run(main())


def test_a_big_picture_leaves_in_steps():
    """The receiver's buffer has time to be read; everything arrives in the end."""
    burst = Burst(b"", [(b"head", b"body")] * 100)

    async def test(ports):
        with Ears() as ears:
            ears.viewer(ports).send(burst)
            at_once, total, left = ears.waiting(), 0, 500
            while total + at_once < 100 and left:
                await asyncio.sleep(0.01)
                total, left = total + ears.waiting(), left - 1
            return at_once, at_once + total

    assert in_loop(test) == (UdpViewer.STEP_PACKETS, 100)


def test_the_ports_are_neighbours_and_rtp_has_the_even_one():
    """As RFC 3550 wants it."""

    async def test(ports):
        return ports.pair

    rtp, rtcp = in_loop(test)
    assert rtp % 2 == 0
    assert rtcp == rtp + 1


def test_a_receivers_report_is_a_sign_of_life_of_its_session_only(golden):
    """A report from another port, and what is no report, are none."""
    heard = []

    async def test(ports):
        with Ears() as mine, Ears() as other:
            viewer = mine.viewer(ports)
            ports.expect(viewer.rtcp, lambda: heard.append("report"))
            to = ("127.0.0.1", ports.pair[1])
            other.rtcp.sendto(golden("rtcp_rr.bin"), to)
            mine.rtcp.sendto(b"\xce\xfa", to)
            await asyncio.sleep(0.05)
            before = len(heard)
            mine.rtcp.sendto(golden("rtcp_rr.bin"), to)
            for _ in range(500):
                await asyncio.sleep(0.01)
                if heard:
                    break
            return before

    assert in_loop(test) == 0
    assert heard == ["report"]


def test_a_deaf_camera_sends_no_datagrams():
    """Neither packets nor reports."""

    async def test(ports):
        with Ears() as ears:
            ears.viewer(ports, Door(deaf=True)).send(Burst(b"report", [(b"head", b"body")]))
            await asyncio.sleep(0.05)
            return ears.waiting()

    assert in_loop(test) == 0
