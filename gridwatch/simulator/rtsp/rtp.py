# SPDX-License-Identifier: AGPL-3.0-or-later
"""RTP packets (RFC 3550 section 5.1) and H.264 inside them (RFC 6184: single NAL units and FU-A). No socket, no clock."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from gridwatch.simulator.errors import WireError

CLOCK_HZ = 90_000
PAYLOAD_TYPE = 96  # the first dynamic one
MAX_PAYLOAD_BYTES = 1_400  # what fits an Ethernet frame; cameras keep to it on TCP too

FU_A = 28
_FU_START, _FU_END = 0x80, 0x40
_HEADER = struct.Struct(">BBHII")
_VERSION = 2


@dataclass(frozen=True, slots=True)
class RtpPacket:
    """One packet. `sequence` has 16 bits, `timestamp` 32 bits at 90 kHz; `marker` ends an access unit."""

    payload_type: int
    marker: bool
    sequence: int
    timestamp: int
    ssrc: int
    payload: bytes

    def __bytes__(self) -> bytes:
        second = (self.marker << 7) | self.payload_type
        return _HEADER.pack(_VERSION << 6, second, self.sequence, self.timestamp, self.ssrc) + self.payload

    @classmethod
    def parse(cls, data: bytes) -> "RtpPacket":
        """Read a packet; contributing sources, an extension and padding are skipped.

        Raises:
            WireError: it is cut off or of another version.
        """
        if len(data) < _HEADER.size:
            raise WireError(f"an RTP header has {_HEADER.size} bytes, got {len(data)}")
        first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(data)
        if first >> 6 != _VERSION:
            raise WireError(f"expected RTP version {_VERSION}, got {first >> 6}")
        start = _payload_start(data, first)
        end = len(data) - (data[-1] if first & 0x20 else 0)
        if end < start or (first & 0x20 and data[-1] == 0):
            raise WireError("RTP padding is longer than the packet")
        return cls(second & 0x7F, bool(second >> 7), sequence, timestamp, ssrc, data[start:end])


def _payload_start(data: bytes, first: int) -> int:
    start = _HEADER.size + 4 * (first & 0x0F)
    if first & 0x10:
        if len(data) < start + 4:
            raise WireError("an RTP extension is cut off")
        start += 4 + 4 * int.from_bytes(data[start + 2 : start + 4], "big")
    if start > len(data):
        raise WireError("an RTP header is cut off")
    return start


@dataclass(slots=True)
class RtpSender:
    """Turns access units into packets of one stream and counts them for sender reports.

    Attributes:
        sequence: of the next packet, 16 bits.
        packets, octets: sent so far, 32 bits each (RFC 3550 section 6.4.1).
    """

    ssrc: int
    sequence: int
    packets: int = 0
    octets: int = 0

    def packetise(self, nals: Sequence[bytes], timestamp: int) -> list[bytes]:
        """Return the packets of one access unit; the marker is on the last one."""
        payloads = [payload for nal in nals for payload in nal_payloads(nal)]
        packets = []
        for index, payload in enumerate(payloads, 1):
            second = PAYLOAD_TYPE | (0x80 if index == len(payloads) else 0)
            packets.append(_HEADER.pack(0x80, second, self.sequence, timestamp, self.ssrc) + payload)
            self.sequence = (self.sequence + 1) & 0xFFFF
            self.octets = (self.octets + len(payload)) & 0xFFFF_FFFF
        self.packets = (self.packets + len(packets)) & 0xFFFF_FFFF
        return packets


def nal_payloads(nal: bytes, limit: int = MAX_PAYLOAD_BYTES) -> list[bytes]:
    """Return a NAL unit as it is, or in FU-A pieces of at most `limit` bytes (RFC 6184 section 5.8)."""
    if len(nal) <= limit:
        return [nal]
    indicator, kind = (nal[0] & 0xE0) | FU_A, nal[0] & 0x1F
    step = limit - 2
    pieces = []
    for at in range(1, len(nal), step):
        edge = (_FU_START if at == 1 else 0) | (_FU_END if at + step >= len(nal) else 0)
        pieces.append(bytes((indicator, kind | edge)) + nal[at : at + step])
    return pieces


def join_payloads(payloads: Sequence[bytes]) -> tuple[bytes, ...]:
    """Put the payloads of one access unit together again: the other half of `nal_payloads`.

    Raises:
        WireError: a piece is missing, out of place, empty, or of a kind that this server never sends.
    """
    nals: list[bytes] = []
    open_pieces: list[bytes] = []
    for payload in payloads:
        kind = payload[0] & 0x1F if payload else 0
        if 1 <= kind < 24 and not open_pieces:  # noqa: PLR2004  RFC 6184 table 1: 24 and more are packet types
            nals.append(payload)
        elif kind == FU_A and len(payload) > 2 and bool(payload[1] & _FU_START) != bool(open_pieces):  # noqa: PLR2004
            open_pieces.append(payload)
            if payload[1] & _FU_END:
                nals.append(_join_fragments(open_pieces))
                open_pieces = []
        else:
            raise WireError("an H.264 payload is out of place")
    if open_pieces:
        raise WireError("the last piece of a NAL unit is missing")
    return tuple(nals)


def _join_fragments(pieces: Sequence[bytes]) -> bytes:
    first = pieces[0]
    head = (first[0] & 0xE0) | (first[1] & 0x1F)
    return bytes((head,)) + b"".join(piece[2:] for piece in pieces)
