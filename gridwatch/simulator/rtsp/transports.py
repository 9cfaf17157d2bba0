# SPDX-License-Identifier: AGPL-3.0-or-later
"""How RTP shall travel: the Transport header of SETUP (RFC 2326 section 12.39), read and answered."""

import re
from dataclasses import dataclass
from typing import TypeAlias

from gridwatch.simulator.errors import WireError

_INTERLEAVED = re.compile(r"interleaved=([0-9]{1,3})(?:-([0-9]{1,3}))?")
_CLIENT_PORT = re.compile(r"client_port=([0-9]{1,5})(?:-([0-9]{1,5}))?")
_LAST_CHANNEL = 255
_LAST_PORT = 65_535

PortPair: TypeAlias = tuple[int, int]
"""Where RTP and RTCP go, or come from."""


@dataclass(frozen=True, slots=True)
class Interleaved:
    """On the RTSP connection. RTP has `channel`, RTCP the next one."""

    channel: int

    def __str__(self) -> str:
        return f"RTP/AVP/TCP;unicast;interleaved={self.channel}-{self.channel + 1}"


@dataclass(frozen=True, slots=True)
class Datagrams:
    """Over UDP, from the server's ports to the client's. The client is where its RTSP connection comes from."""

    client: PortPair
    server: PortPair

    def __str__(self) -> str:
        (rtp, rtcp), (own_rtp, own_rtcp) = self.client, self.server
        return f"RTP/AVP;unicast;client_port={rtp}-{rtcp};server_port={own_rtp}-{own_rtcp}"


Transport: TypeAlias = Interleaved | Datagrams


def choose_transport(header: str, udp: PortPair | None) -> Transport:
    """Return the first offer that can be served; `udp` are the server's ports, None where it serves no UDP.

    Raises:
        WireError: there is none (461).
    """
    for offer in header.split(","):
        protocol, *parameters = (part.strip() for part in offer.split(";"))
        if "multicast" in parameters:
            continue
        if protocol.upper() == "RTP/AVP/TCP":
            chosen: Transport | None = _interleaved(parameters)
        elif protocol.upper() in {"RTP/AVP", "RTP/AVP/UDP"} and udp is not None:
            chosen = _datagrams(parameters, udp)
        else:
            chosen = None
        if chosen is not None:
            return chosen
    raise WireError("RTP is served interleaved on two neighbouring channels, or over UDP to two ports", 461)


def _interleaved(parameters: list[str]) -> Interleaved | None:
    matches = [match for part in parameters if (match := _INTERLEAVED.fullmatch(part))]
    channel = int(matches[0][1]) if matches else 0
    second = int(matches[0][2] or channel + 1) if matches else 1
    return Interleaved(channel) if second == channel + 1 and second <= _LAST_CHANNEL else None


def _datagrams(parameters: list[str], udp: PortPair) -> Datagrams | None:
    matches = [match for part in parameters if (match := _CLIENT_PORT.fullmatch(part))]
    if not matches:
        return None
    rtp = int(matches[0][1])
    rtcp = int(matches[0][2] or rtp + 1)
    fits = 0 < rtp <= _LAST_PORT and 0 < rtcp <= _LAST_PORT and rtp != rtcp
    return Datagrams((rtp, rtcp), udp) if fits else None
