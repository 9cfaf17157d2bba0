# SPDX-License-Identifier: AGPL-3.0-or-later
"""RTP and RTCP over UDP: the server's pair of ports, and a viewer behind two ports of its own.

All sessions of one address share one pair. A packet that does not fit is lost, as in any network. A big picture leaves
in steps, as a camera's link paces it: in one go it would overflow the buffer of whoever receives it.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.broadcast import Burst
from gridwatch.simulator.rtsp.rtcp import parse_compound
from gridwatch.simulator.rtsp.tamper import Door
from gridwatch.simulator.rtsp.transports import Datagrams, PortPair

_TRIES = 64
_SEND_BUFFER_BYTES = 4 * 1024 * 1024
_READS = 64
_MAX_DATAGRAM_BYTES = 2_048


class UdpPorts:
    """Two sockets on neighbouring ports, RTP on the even one (RFC 3550 section 11).

    Attributes:
        lost: packets that the system would not take.
    """

    def __init__(self, rtp: socket.socket, rtcp: socket.socket) -> None:
        self._rtp, self._rtcp = rtp, rtcp
        self.lost = 0
        self._heard: dict[tuple[str, int], Callable[[], None]] = {}
        loop = asyncio.get_running_loop()
        loop.add_reader(rtp, self._drain, rtp)
        loop.add_reader(rtcp, self._drain, rtcp)

    @classmethod
    def open(cls, host: str) -> "UdpPorts":
        """Take a free pair inside the running loop. Raises OSError where there is none."""
        for _ in range(_TRIES):
            first = _bound(host, 0)
            try:
                second = _bound(host, first.getsockname()[1] ^ 1)
            except OSError:
                first.close()
                continue
            return cls(*sorted((first, second), key=lambda one: one.getsockname()[1]))
        raise OSError(f"no two neighbouring UDP ports are free on {host}")

    @property
    def pair(self) -> PortPair:
        """Their numbers."""
        return self._rtp.getsockname()[1], self._rtcp.getsockname()[1]

    def close(self) -> None:
        """Give the ports back."""
        loop = asyncio.get_running_loop()
        for one in (self._rtp, self._rtcp):
            loop.remove_reader(one)
            one.close()

    def expect(self, address: tuple[str, int], heard: Callable[[], None]) -> None:
        """Call `heard` for each report from `address`."""
        self._heard[address] = heard

    def forget(self, address: tuple[str, int]) -> None:
        """Expect nothing more from `address`."""
        self._heard.pop(address, None)

    def send_rtp(self, packet: bytes, address: tuple[str, int]) -> None:
        """Send or lose one packet."""
        self._send(self._rtp, packet, address)

    def send_rtcp(self, packet: bytes, address: tuple[str, int]) -> None:
        """Send or lose one compound."""
        self._send(self._rtcp, packet, address)

    def _send(self, one: socket.socket, packet: bytes, address: tuple[str, int]) -> None:
        try:
            one.sendto(packet, address)
        except OSError:  # its buffer is full, or the client's network is away
            self.lost += 1

    def _drain(self, one: socket.socket) -> None:
        with suppress(OSError):  # nothing more to read
            for _ in range(_READS):
                data, address = one.recvfrom(_MAX_DATAGRAM_BYTES)
                heard = self._heard.get(address)
                if one is self._rtcp and heard is not None:
                    with suppress(WireError):
                        parse_compound(data)
                        heard()


class UdpViewer:
    """A client that is sent datagrams.

    Args:
        peer: its address, as its RTSP connection has it.
        abort: ends that connection.
    """

    STEP_PACKETS = 32
    STEP_S = 0.002
    MAX_QUEUED = 8_192

    def __init__(
        self, ports: UdpPorts, peer: str, transport: Datagrams, door: Door, abort: Callable[[], None]
    ) -> None:
        self._ports, self._door = ports, door
        self._rtp, self.rtcp = (peer, transport.client[0]), (peer, transport.client[1])
        self.abort = abort
        self._queue: deque[bytes] = deque(maxlen=self.MAX_QUEUED)
        self._pump: asyncio.TimerHandle | None = None

    def send(self, burst: Burst) -> bool:
        """Send a picture, in steps where it is big; a datagram's sender never waits and never knows."""
        if self._door.deaf or self._door.drip_s:
            return True
        if burst.report:
            self._ports.send_rtcp(burst.report, self.rtcp)
        self._queue += burst.datagrams()
        if self._pump is None:
            self._step()
        return True

    def stop(self) -> None:
        """Send nothing more."""
        self._queue.clear()
        if self._pump is not None:
            self._pump.cancel()

    def _step(self) -> None:
        self._pump = None
        queue, ports, address = self._queue, self._ports, self._rtp
        for _ in range(min(self.STEP_PACKETS, len(queue))):
            ports.send_rtp(queue.popleft(), address)
        if queue:
            self._pump = asyncio.get_running_loop().call_later(self.STEP_S, self._step)


def _bound(host: str, port: int) -> socket.socket:
    one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        one.setblocking(False)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        one.bind((host, port))
    except OSError:
        one.close()
        raise
    return one
