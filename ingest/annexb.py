# SPDX-License-Identifier: AGPL-3.0-or-later
"""The byte-stream form of H.264 and H.265, and how to get there. Pure bytes: nothing is decoded here.

RTSP brings NAL units behind start codes (ITU-T H.264 and H.265, Annex B). MP4 brings them behind lengths, with the
parameter sets kept apart in a decoder configuration record (ISO/IEC 14496-15, avcC and hvcC). The decoders and the
remuxer of this room take Annex B only.
"""

import re
from collections.abc import Iterable, Iterator

from ingest.errors import DamagedError

START_CODE = b"\x00\x00\x00\x01"
CODECS = ("h264", "hevc")

_ANY_START_CODE = re.compile(rb"\x00\x00\x01")
_H264_SEI, _H264_SPS, _H264_PPS = 6, 7, 8
_SEI_RECOVERY_POINT = 6
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
    return [unit for unit in _before_slices(stream, codec) if nal_type(unit, codec) in _PARAMETER_SETS[codec]]


def begins_picture(stream: bytes, codec: str) -> bool:
    """Tell whether the first slice of a byte stream is the first of its picture; True where there is no slice.

    The first bit of a slice header says so: `first_mb_in_slice` is 0 (H.264, 7.3.3: ue(v), a single 1 bit), or
    `first_slice_segment_in_pic_flag` (H.265, 7.3.6.1).
    """
    at, header = 0, 1 if codec == "h264" else 2
    while (match := _ANY_START_CODE.search(stream, at)) is not None:
        at = match.end()
        if nal_type(stream[at : at + 1], codec) in _SLICES[codec]:
            return len(stream) <= at + header or bool(stream[at + header] & 0x80)
    return True


def heals_later(payload: bytes, extradata: bytes, codec: str) -> bool:
    """Tell whether what is called a key frame only begins a gradual refresh (intra-refresh, GDR) and is no whole picture.

    FFmpeg's parser calls each H.264 picture with a recovery point a key frame. It is one where `recovery_frame_cnt` is 0
    (an open group of pictures); else so many more pictures are needed (H.264 D.2.8).

    Raises:
        DamagedError: a length points past the end.
    """
    if codec != "h264":
        return False  # FFmpeg calls only random access pictures of H.265 key frames
    length_bytes = length_bytes_of(extradata, codec)
    units = _before_slices(payload, codec) if length_bytes is None else split_lengths(payload, length_bytes)
    return (_recovery_point(units) or 0) > 0


def recovers(stream: bytes) -> bool:
    """Tell whether a picture of an H.264 byte stream has a recovery point: decoding may begin with it (D.2.8)."""
    return _recovery_point(_before_slices(stream, "h264")) is not None


def _recovery_point(units: Iterable[bytes]) -> int | None:
    """Return recovery_frame_cnt of the first recovery point before the first slice; None where there is none."""
    for unit in units:
        kind = nal_type(unit, "h264")
        if kind in _SLICES["h264"]:
            return None
        if kind == _H264_SEI and (frames := _recovery_frames(unit)) is not None:
            return frames
    return None


def _before_slices(stream: bytes, codec: str) -> Iterator[bytes]:
    # Only the head is split: a key frame's slices are its bulk and need not be searched.
    match = _ANY_START_CODE.search(stream)
    while match is not None:
        start = match.end()
        if nal_type(stream[start : start + 1], codec) in _SLICES[codec]:
            return
        match = _ANY_START_CODE.search(stream, start)
        yield stream[start : len(stream) if match is None else match.start()].rstrip(b"\x00")


def _recovery_frames(sei: bytes) -> int | None:
    """Return recovery_frame_cnt of an H.264 SEI unit; None where it holds no recovery point."""
    data, at = sei.replace(b"\x00\x00\x03", b"\x00\x00"), 1
    while at + 1 < len(data) - 1:
        kind, at = _sei_number(data, at)
        size, at = _sei_number(data, at)
        if kind == _SEI_RECOVERY_POINT:
            return _exp_golomb(data[at : at + size])
        at += size
    return None


def _sei_number(data: bytes, at: int) -> tuple[int, int]:
    total = 0
    while at < len(data) and data[at] == 0xFF:  # noqa: PLR2004  H.264 7.3.2.3.1: ff_byte
        total, at = total + 0xFF, at + 1
    return (total + data[at], at + 1) if at < len(data) else (total, at)


def _exp_golomb(data: bytes) -> int | None:
    """Return the first ue(v) (H.264 9.1) in `data`; None where it is cut off."""
    bits = "".join(f"{byte:08b}" for byte in data[:8])
    zeros = bits.find("1")
    code = bits[zeros : 2 * zeros + 1]
    return int(code, 2) - 1 if zeros >= 0 and len(code) == zeros + 1 else None


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
