# SPDX-License-Identifier: AGPL-3.0-or-later
"""H.265 as bytes: NAL units and parameter sets. Nothing here decodes a picture.

ITU-T H.265 sections 7.3.1.2 and 7.4.2.2, annex B; ISO/IEC 14496-15 section 8.3.3 (hvcC).
"""

from gridwatch.simulator.errors import WireError
from gridwatch.simulator.rtsp.h264 import split_annex_b
from gridwatch.simulator.rtsp.media import ParameterSets, StreamHeader

NAL_VPS, NAL_SPS, NAL_PPS, NAL_AUD = 32, 33, 34, 35
NAL_RASL_N, NAL_RASL_R = 8, 9
NAL_CRA = 21

_FIRST_IRAP, _LAST_IRAP = 16, 23
_FIXED_BYTES = 23
_NAL_HEADER_BYTES = 2


def nal_type(nal: bytes) -> int:
    """Return nal_unit_type, six bits after the first one."""
    return (nal[0] >> 1) & 0x3F


def is_key(nals: tuple[bytes, ...]) -> bool:
    """True for an access unit with an intra random access picture (BLA, IDR or CRA)."""
    return any(_FIRST_IRAP <= nal_type(nal) <= _LAST_IRAP for nal in nals)


def parse_header(extradata: bytes) -> StreamHeader:
    """Read a container's extradata, either hvcC or annex B.

    Raises:
        WireError: it is neither, or a VPS, an SPS or a PPS is missing.
    """
    if extradata[:1] == b"\x01":
        return _parse_hvcc(extradata)
    return StreamHeader(_sorted_sets(split_annex_b(extradata)), 0)


def _parse_hvcc(data: bytes) -> StreamHeader:
    if len(data) < _FIXED_BYTES:
        raise WireError(f"hvcC needs at least {_FIXED_BYTES} bytes, got {len(data)}")
    nals: list[bytes] = []
    at = _FIXED_BYTES
    for _ in range(data[22]):
        count = int.from_bytes(data[at + 1 : at + 3], "big")
        at += 3
        if at > len(data):
            raise WireError("an array in hvcC is cut off")
        for _ in range(count):
            start = at + 2
            at = start + int.from_bytes(data[start - 2 : start], "big")
            if start > len(data) or at > len(data):
                raise WireError("a parameter set in hvcC is cut off")
            nals.append(data[start:at])
    return StreamHeader(_sorted_sets(tuple(nals)), (data[21] & 0x03) + 1)


def _sorted_sets(nals: tuple[bytes, ...]) -> ParameterSets:
    def of(kind: int) -> tuple[bytes, ...]:
        return tuple(nal for nal in nals if len(nal) > _NAL_HEADER_BYTES and nal_type(nal) == kind)

    vps, sps, pps = of(NAL_VPS), of(NAL_SPS), of(NAL_PPS)
    if not (vps and sps and pps):
        raise WireError(f"expected at least one VPS, SPS and PPS, got {len(vps)}, {len(sps)} and {len(pps)}")
    return ParameterSets(sps, pps, vps)
