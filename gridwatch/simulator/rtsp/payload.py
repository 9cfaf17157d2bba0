# SPDX-License-Identifier: AGPL-3.0-or-later
"""NAL units as RTP payloads: H.264 (RFC 6184: single NAL units and FU-A) and H.265 (RFC 7798: single NAL units and FUs).

Nothing is copied here but a few bytes in front: a piece is what stands before it, and a view of the NAL unit.
"""

from collections.abc import Sequence
from typing import TypeAlias

from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.media import Codec

Piece: TypeAlias = "tuple[bytes, bytes | memoryview]"
"""What the payload format puts first, and the bytes of the NAL unit that follow it."""

MAX_PAYLOAD_BYTES = 1_400  # what fits an Ethernet frame; cameras keep to it on TCP too

FU_A = 28
FU_HEVC = 49
_FU_START, _FU_END = 0x80, 0x40
_HEVC_HEAD_BYTES = 3


def nal_type(nal: bytes, codec: Codec) -> int:
    """Return nal_unit_type: five bits of the first byte in H.264, six in H.265."""
    return nal[0] & 0x1F if codec == "h264" else (nal[0] >> 1) & 0x3F


def pieces_of(nal: bytes, codec: Codec, limit: int = MAX_PAYLOAD_BYTES) -> list[Piece]:
    """Return a NAL unit as it is, or in fragments of at most `limit` bytes each."""
    if len(nal) <= limit:
        return [(b"", nal)]
    if codec == "h264":
        return _fragments(nal, bytes(((nal[0] & 0xE0) | FU_A,)), nal[0] & 0x1F, limit)
    head = bytes(((nal[0] & 0x81) | FU_HEVC << 1, nal[1]))
    return _fragments(nal, head, nal_type(nal, codec), limit)


def _fragments(nal: bytes, head: bytes, kind: int, limit: int) -> list[Piece]:
    """Cut what follows the NAL unit's own header, which is as long as `head` (RFC 6184 section 5.8, 7798 4.4.3)."""
    step = limit - len(head) - 1
    view = memoryview(nal)
    pieces: list[Piece] = [
        (head + bytes((kind,)), view[at : at + step]) for at in range(len(head), len(nal), step)
    ]
    pieces[0] = (head + bytes((kind | _FU_START,)), pieces[0][1])
    pieces[-1] = (head + bytes((kind | _FU_END,)), pieces[-1][1])
    return pieces


def nal_payloads(nal: bytes, limit: int = MAX_PAYLOAD_BYTES, codec: Codec = "h264") -> list[bytes]:
    """Return the payloads of a NAL unit as whole bytes."""
    return [b"".join(piece) for piece in pieces_of(nal, codec, limit)]


def join_payloads(payloads: Sequence[bytes], codec: Codec = "h264") -> tuple[bytes, ...]:
    """Put the payloads of one access unit together again: the other half of `nal_payloads`.

    Raises:
        WireError: a piece is missing, out of place, empty, or of a kind that this server never sends.
    """
    fragment, first_packet_type, head_bytes = (FU_A, 24, 2) if codec == "h264" else (FU_HEVC, 48, 3)
    nals: list[bytes] = []
    open_pieces: list[bytes] = []
    for payload in payloads:
        kind = nal_type(payload, codec) if len(payload) >= head_bytes - 1 else first_packet_type
        if kind == fragment and len(payload) > head_bytes:
            mark = payload[head_bytes - 1]
            if bool(mark & _FU_START) == bool(open_pieces):
                raise WireError("a fragment is out of place")
            open_pieces.append(payload)
            if mark & _FU_END:
                nals.append(_joined(open_pieces, codec))
                open_pieces = []
        elif kind < first_packet_type and kind != fragment and not open_pieces:
            nals.append(payload)
        else:
            raise WireError("a payload is out of place")
    if open_pieces:
        raise WireError("the last piece of a NAL unit is missing")
    return tuple(nals)


def _joined(pieces: Sequence[bytes], codec: Codec) -> bytes:
    first = pieces[0]
    if codec == "h264":
        head = bytes(((first[0] & 0xE0) | (first[1] & 0x1F),))
        return head + b"".join(piece[2:] for piece in pieces)
    head = bytes(((first[0] & 0x81) | (first[2] & 0x3F) << 1, first[1]))
    return head + b"".join(piece[_HEVC_HEAD_BYTES:] for piece in pieces)
