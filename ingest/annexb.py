# SPDX-License-Identifier: AGPL-3.0-or-later
"""The byte-stream form of H.264 and H.265, and how to get there. Pure bytes: nothing is decoded here.

RTSP brings NAL units behind start codes (ITU-T H.264 and H.265, Annex B). MP4 brings them behind lengths, with the
parameter sets kept apart in a decoder configuration record (ISO/IEC 14496-15, avcC and hvcC). The decoders and the
remuxer of this room take Annex B only.
"""

import re
from collections.abc import Iterator

from ingest.errors import DamagedError

START_CODE = b"\x00\x00\x00\x01"
CODECS = ("h264", "hevc")

_ANY_START_CODE = re.compile(rb"\x00\x00\x01")
_H264_SPS, _H264_PPS = 7, 8
_HEVC_VPS, _HEVC_SPS, _HEVC_PPS = 32, 33, 34
_PARAMETER_SETS = {"h264": (_H264_SPS, _H264_PPS), "hevc": (_HEVC_VPS, _HEVC_SPS, _HEVC_PPS)}
_NEEDED = {"h264": {_H264_SPS, _H264_PPS}, "hevc": {_HEVC_SPS, _HEVC_PPS}}
_SLICES = {"h264": range(1, 6), "hevc": range(32)}
_LENGTH_SIZE_AT = {"h264": 4, "hevc": 21}
_HVCC_HEADER = 23


def nal_type(unit: bytes | memoryview, codec: str) -> int:
    """Return a NAL unit's type (H.264 table 7-1, H.265 table 7-1); -1 for an empty one."""
    if not len(unit):
        return -1
    return unit[0] & 0x1F if codec == "h264" else unit[0] >> 1 & 0x3F


def is_annexb(data: bytes) -> bool:
    """Tell whether `data` begins with a start code."""
    return data.startswith((START_CODE, START_CODE[1:]))


def split_annexb(data: bytes) -> Iterator[bytes]:
    """Yield the NAL units of a byte stream, without start codes and trailing zeros."""
    starts = [match.end() for match in _ANY_START_CODE.finditer(data)]
    for start, following in zip(starts, [*starts[1:], len(data) + 3], strict=False):
        unit = data[start : following - 3].rstrip(b"\x00")
        if unit:
            yield unit


def split_lengths(data: bytes, length_bytes: int) -> Iterator[bytes]:
    """Yield the NAL units that stand behind big-endian lengths of `length_bytes`.

    Raises:
        DamagedError: a length points past the end.
    """
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + length_bytes], "big")
        at += length_bytes
        if at + size > len(data):
            raise DamagedError("a NAL unit is cut off")
        if size:
            yield data[at : at + size]
        at += size


def length_bytes_of(extradata: bytes, codec: str) -> int | None:
    """Return how many bytes a length has by this configuration record; None where start codes are used."""
    at = _LENGTH_SIZE_AT[codec]
    if len(extradata) <= at or is_annexb(extradata) or extradata[0] != 1:
        return None
    return (extradata[at] & 3) + 1


def parameter_sets(extradata: bytes, codec: str) -> list[bytes]:
    """Return the parameter sets in `extradata` (Annex B, avcC or hvcC); empty where it has none.

    Raises:
        DamagedError: the configuration record is cut off.
    """
    if not extradata:
        return []
    if is_annexb(extradata):
        return [u for u in split_annexb(extradata) if nal_type(u, codec) in _PARAMETER_SETS[codec]]
    try:
        return _avcc_sets(extradata) if codec == "h264" else _hvcc_sets(extradata)
    except IndexError:
        raise DamagedError("the decoder configuration is cut off") from None


def _take(data: bytes, at: int) -> tuple[bytes, int]:
    size = data[at] << 8 | data[at + 1]
    end = at + 2 + size
    if end > len(data):
        raise DamagedError("the decoder configuration is cut off")
    return data[at + 2 : end], end


def _avcc_sets(data: bytes) -> list[bytes]:
    units, at = [], 5
    for mask in (0x1F, 0xFF):  # the SPS count has three reserved bits, the PPS count none
        count, at = data[at] & mask, at + 1
        for _ in range(count):
            unit, at = _take(data, at)
            units.append(unit)
    return units


def _hvcc_sets(data: bytes) -> list[bytes]:
    units, at = [], _HVCC_HEADER
    for _ in range(data[22]):
        kind, count, at = data[at] & 0x3F, data[at + 1] << 8 | data[at + 2], at + 3
        for _ in range(count):
            unit, at = _take(data, at)
            if kind in _PARAMETER_SETS["hevc"]:
                units.append(unit)
    return units


def to_annexb(payload: bytes, extradata: bytes, codec: str) -> bytes:
    """Return `payload` as a byte stream; what already is one comes back unchanged.

    Raises:
        DamagedError: a length points past the end.
    """
    length_bytes = length_bytes_of(extradata, codec)
    if length_bytes is None:
        return payload
    return b"".join(START_CODE + unit for unit in split_lengths(payload, length_bytes))


def sets_in_band(stream: bytes, codec: str) -> list[bytes]:
    """Return the parameter sets that stand before the first slice of a byte stream."""
    found = []
    # Only the head is split: a key frame's slices are its bulk and need not be searched.
    at, kinds = 0, _PARAMETER_SETS[codec]
    while (match := _ANY_START_CODE.search(stream, at)) is not None:
        kind = nal_type(stream[match.end() : match.end() + 1], codec)
        if kind in _SLICES[codec]:
            break
        following = _ANY_START_CODE.search(stream, match.end())
        end = len(stream) if following is None else following.start()
        if kind in kinds:
            found.append(stream[match.end() : end].rstrip(b"\x00"))
        at = end
    return found


def decodable_alone(payload: bytes, extradata: bytes, codec: str) -> bytes:
    """Return a key frame as a byte stream that begins with the parameter sets it needs.

    Raises:
        DamagedError: cut off, or there are no parameter sets, neither in it nor beside it. Without its own it
            would be decoded by those of whichever camera the shared decoder saw before.
    """
    stream = to_annexb(payload, extradata, codec)
    present = {nal_type(unit, codec) for unit in sets_in_band(stream, codec)}
    if _NEEDED[codec] <= present:
        return stream
    beside = parameter_sets(extradata, codec)
    if not _NEEDED[codec] <= present | {nal_type(unit, codec) for unit in beside}:
        raise DamagedError("a key frame without parameter sets")
    return b"".join(START_CODE + unit for unit in beside) + stream
