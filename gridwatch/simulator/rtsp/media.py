# SPDX-License-Identifier: AGPL-3.0-or-later
"""Coded video as the simulator hands it around, whatever its codec: parameter sets, access units, what a client must know.

How the bytes of one codec are read is h264.py's and h265.py's.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Codec: TypeAlias = Literal["h264", "hevc"]
"""FFmpeg's names of the two codecs that cameras send."""

_TYPE_BITS: dict[Codec, int] = {"h264": 0x1F, "hevc": 0x7E}
_DELIMITER: dict[Codec, int] = {"h264": 9, "hevc": 35 << 1}


@dataclass(frozen=True, slots=True)
class ParameterSets:
    """The parameter sets that a decoder needs before the first key frame, NAL headers included; `vps` in H.265 only."""

    sps: tuple[bytes, ...]
    pps: tuple[bytes, ...]
    vps: tuple[bytes, ...] = ()

    @property
    def nals(self) -> tuple[bytes, ...]:
        """All of them, in the order in which a stream carries them."""
        return self.vps + self.sps + self.pps

    @property
    def profile_level_id(self) -> str:
        """H.264: profile, constraints and level of the first SPS as six hex digits (RFC 6184 section 8.1)."""
        return self.sps[0][1:4].hex().upper()


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """What a container says of its stream.

    Attributes:
        length_size: bytes of the length before each NAL unit; 0 where start codes part them (annex B).
    """

    parameter_sets: ParameterSets
    length_size: int


@dataclass(frozen=True, slots=True)
class VideoMedia:
    """What a client must know before the first packet. Sizes in pixels."""

    parameter_sets: ParameterSets
    width: int
    height: int
    fps: float
    codec: Codec = "h264"


@dataclass(frozen=True, slots=True)
class AccessUnit:
    """One coded picture.

    Attributes:
        nals: its NAL units in decoding order, without start codes.
        due_s: when it leaves the camera, seconds on the city's timeline.
        pts_s: its presentation time in the camera's own stream, seconds; jumps where a clip starts again.
        is_key: True where decoding can start (IDR, CRA, or a recovery point of an intra-refresh stream).
        media: what the stream is from this unit on, the same object as long as nothing changes; None: as before.
    """

    nals: tuple[bytes, ...]
    due_s: float
    pts_s: float
    is_key: bool
    media: VideoMedia | None = None


def with_parameter_sets(
    nals: tuple[bytes, ...], sets: ParameterSets, codec: Codec = "h264"
) -> tuple[bytes, ...]:
    """Return a key picture's NAL units with the parameter sets before them, unless it brings its own.

    An access unit delimiter stays first (ITU-T H.264 section 7.4.1.2.3, H.265 section 7.4.2.4.4).
    """
    bits = _TYPE_BITS[codec]
    if {nal[0] & bits for nal in sets.nals} <= {nal[0] & bits for nal in nals}:
        return nals
    if nals and nals[0][0] & bits == _DELIMITER[codec]:
        return nals[:1] + sets.nals + nals[1:]
    return sets.nals + nals
