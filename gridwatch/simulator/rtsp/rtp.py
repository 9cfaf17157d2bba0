# SPDX-License-Identifier: AGPL-3.0-or-later
"""RTP packets (RFC 3550 section 5.1) and a stream of them. What stands inside is payload.py's. No socket, no clock."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.media import Codec
from gridwatch.simulator.rtsp.payload import pieces_of

CLOCK_HZ = 90_000
PAYLOAD_TYPE = 96  # the first dynamic one

Segment: TypeAlias = "tuple[bytes, bytes | memoryview]"
"""One packet: its RTP header with the first bytes of its payload, and the rest."""

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

    def segments(self, nals: Sequence[bytes], timestamp: int, codec: Codec = "h264") -> list[Segment]:
        """Return the packets of one access unit without copying it; the marker is on the last one."""
        pack, ssrc, sequence = _HEADER.pack, self.ssrc, self.sequence
        pieces = [piece for nal in nals for piece in pieces_of(nal, codec)]
        last = len(pieces) - 1
        segments: list[Segment] = []
        octets = 0
        for index, (first, body) in enumerate(pieces):
            second = PAYLOAD_TYPE if index != last else PAYLOAD_TYPE | 0x80
            segments.append((pack(0x80, second, sequence, timestamp, ssrc) + first, body))
            sequence = (sequence + 1) & 0xFFFF
            octets += len(first) + len(body)
        self.sequence = sequence
        self.octets = (self.octets + octets) & 0xFFFF_FFFF
        self.packets = (self.packets + len(segments)) & 0xFFFF_FFFF
        return segments

    def packetise(self, nals: Sequence[bytes], timestamp: int, codec: Codec = "h264") -> list[bytes]:
        """Return the packets of one access unit as whole bytes."""
        return [b"".join(segment) for segment in self.segments(nals, timestamp, codec)]
