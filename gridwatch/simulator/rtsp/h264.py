# SPDX-License-Identifier: AGPL-3.0-or-later
"""H.264 as bytes: NAL units and parameter sets. Nothing here decodes a picture.

ITU-T H.264 section 7.4.1 and annex B; ISO/IEC 14496-15 section 5.3.3 (avcC).
"""

from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.media import ParameterSets, StreamHeader

NAL_IDR, NAL_SEI, NAL_SPS, NAL_PPS = 5, 6, 7, 8
_START_CODE = b"\x00\x00\x01"


def nal_type(nal: bytes) -> int:
    """Return nal_unit_type, the low five bits of the first byte."""
    return nal[0] & 0x1F


def parse_header(extradata: bytes) -> StreamHeader:
    """Read a container's extradata, either avcC or annex B.

    Raises:
        WireError: it is neither, or holds no SPS or no PPS.
    """
    if extradata[:1] == b"\x01":
        return _parse_avcc(extradata)
    return StreamHeader(_sorted_sets(split_annex_b(extradata)), 0)


def split_nals(data: bytes, length_size: int) -> tuple[bytes, ...]:
    """Split one packet into NAL units; `length_size` as in `StreamHeader`."""
    return split_length_prefixed(data, length_size) if length_size else split_annex_b(data)


def split_annex_b(data: bytes) -> tuple[bytes, ...]:
    """Split a byte stream at its start codes; zero bytes before a start code belong to no NAL unit."""
    nals = []
    start = data.find(_START_CODE)
    while start >= 0:
        start += len(_START_CODE)
        end = data.find(_START_CODE, start)
        nal = data[start : end if end >= 0 else len(data)].rstrip(b"\x00")
        if nal:
            nals.append(nal)
        start = end
    return tuple(nals)


def split_length_prefixed(data: bytes, length_size: int) -> tuple[bytes, ...]:
    """Split NAL units that each have a big-endian length of `length_size` bytes before them.

    Raises:
        WireError: a length points past the end.
    """
    nals, at = [], 0
    while at < len(data):
        start = at + length_size
        if start > len(data):
            raise WireError("a NAL unit's length is cut off")
        at = start + int.from_bytes(data[at:start], "big")
        if at > len(data):
            raise WireError("a NAL unit is longer than its packet")
        if at > start:
            nals.append(data[start:at])
    return tuple(nals)


def _parse_avcc(data: bytes) -> StreamHeader:
    if len(data) < 7:  # noqa: PLR2004  five fixed bytes and two counts
        raise WireError(f"avcC needs at least 7 bytes, got {len(data)}")
    sps, at = _length16_list(data, 6, data[5] & 0x1F)
    if at >= len(data):
        raise WireError("avcC ends before its count of picture parameter sets")
    pps, _ = _length16_list(data, at + 1, data[at])
    return StreamHeader(_sorted_sets(sps + pps), (data[4] & 0x03) + 1)


def _length16_list(data: bytes, at: int, count: int) -> tuple[tuple[bytes, ...], int]:
    nals = []
    for _ in range(count):
        start = at + 2
        at = start + int.from_bytes(data[at:start], "big")
        if start > len(data) or at > len(data):
            raise WireError("a parameter set in avcC is cut off")
        nals.append(data[start:at])
    return tuple(nals), at


def _sorted_sets(nals: tuple[bytes, ...]) -> ParameterSets:
    sps = tuple(nal for nal in nals if nal and nal_type(nal) == NAL_SPS)
    pps = tuple(nal for nal in nals if nal and nal_type(nal) == NAL_PPS)
    if not sps or not pps:
        raise WireError(f"expected at least one SPS and one PPS, got {len(sps)} and {len(pps)}")
    if len(sps[0]) < 4:  # noqa: PLR2004  NAL header, profile, constraints, level
        raise WireError("the SPS is too short to hold profile and level")
    return ParameterSets(sps, pps)
