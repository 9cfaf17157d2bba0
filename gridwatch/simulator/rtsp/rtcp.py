# SPDX-License-Identifier: AGPL-3.0-or-later
"""RTCP: the sender reports that carry the camera's clock, and what clients send back (RFC 3550 section 6)."""

import struct
from dataclasses import dataclass

from gridwatch.simulator.errors import WireError

SENDER_REPORT, RECEIVER_REPORT, SOURCE_DESCRIPTION, GOODBYE, APPLICATION = 200, 201, 202, 203, 204
NTP_EPOCH_S = 2_208_988_800  # seconds from 1900 to 1970
_CNAME = 1
_HEADER = struct.Struct(">BBH")
_SENDER_INFO = struct.Struct(">IIIIII")
_VERSION = 2


@dataclass(frozen=True, slots=True)
class RtcpPacket:
    """One packet of a compound. `count` is the header's five-bit field, `body` what follows the four header bytes."""

    kind: int
    count: int
    body: bytes

    def __bytes__(self) -> bytes:
        return _HEADER.pack(_VERSION << 6 | self.count, self.kind, len(self.body) // 4) + self.body


@dataclass(frozen=True, slots=True)
class SenderReport:
    """Which wall time belongs to which RTP timestamp, and what was sent so far.

    Attributes:
        unix_s: wall time, seconds since 1970.
        timestamp: the same moment in the stream, 32 bits at 90 kHz.
    """

    ssrc: int
    unix_s: float
    timestamp: int
    packets: int
    octets: int

    def compound(self, cname: str) -> bytes:
        """Return the report and the source description that must follow it (section 6.1)."""
        whole = int(self.unix_s)
        fraction = int((self.unix_s - whole) * 2**32)
        info = _SENDER_INFO.pack(
            self.ssrc,
            (whole + NTP_EPOCH_S) & 0xFFFF_FFFF,
            fraction,
            self.timestamp,
            self.packets,
            self.octets,
        )
        return bytes(RtcpPacket(SENDER_REPORT, 0, info)) + _source_description(self.ssrc, cname)

    @classmethod
    def from_packet(cls, packet: RtcpPacket) -> "SenderReport":
        """Read a report; reception blocks after it are ignored.

        Raises:
            WireError: it is no sender report, or cut off.
        """
        if packet.kind != SENDER_REPORT or len(packet.body) < _SENDER_INFO.size:
            raise WireError("this is no whole sender report")
        ssrc, whole, fraction, timestamp, packets, octets = _SENDER_INFO.unpack_from(packet.body)
        return cls(ssrc, whole - NTP_EPOCH_S + fraction / 2**32, timestamp, packets, octets)


def parse_compound(data: bytes) -> tuple[RtcpPacket, ...]:
    """Read the packets of a compound.

    Raises:
        WireError: it is empty, cut off, of another version or holds another kind of packet.
    """
    packets: list[RtcpPacket] = []
    at = 0
    while at < len(data) or not packets:
        if len(data) - at < _HEADER.size:
            raise WireError("an RTCP header is cut off")
        first, kind, words = _HEADER.unpack_from(data, at)
        end = at + _HEADER.size + 4 * words
        if first >> 6 != _VERSION or not SENDER_REPORT <= kind <= 207:  # noqa: PLR2004  the last kind registered for AVP
            raise WireError("this is no RTCP packet")
        if end > len(data):
            raise WireError("an RTCP packet is cut off")
        packets.append(RtcpPacket(kind, first & 0x1F, data[at + _HEADER.size : end]))
        at = end
    return tuple(packets)


def _source_description(ssrc: int, cname: str) -> bytes:
    text = cname.encode()[:255]
    chunk = ssrc.to_bytes(4, "big") + bytes((_CNAME, len(text))) + text
    chunk += bytes(4 - len(chunk) % 4)  # at least one zero ends the list (section 6.5)
    return bytes(RtcpPacket(SOURCE_DESCRIPTION, 1, chunk))
