# SPDX-License-Identifier: AGPL-3.0-or-later
"""Puts pictures together from RTP packets (RFC 3550; H.264: RFC 6184; H.265: RFC 7798). Bytes in, Annex B out.

Every packet of every camera passes here, several hundred a second for each: what can be left out is.
"""

import struct
from typing import NamedTuple

from ingest import annexb

_HEADER = struct.Struct(">BBHII")
_REPORT = struct.Struct(">IIII")
_PLAIN = 0x80  # version 2, no padding, no extension, no further sources
_VERSION = 2
_INTERLEAVED, _RTP_HEADER, _RTCP_HEADER, _SENDER_REPORT_BYTES = 4, 12, 4, 28
_SENDER_REPORT, _BYE = 200, 203
_NTP_1970_S = 2_208_988_800  # RFC 868: seconds from 1900 to 1970
_MOST_BYTES = 8 << 20  # of a picture; a stream whose pictures never end is no reason to run out of memory
_MOST_AHEAD_BYTES = 64 * 1024  # of what comes before a picture with a timestamp of its own
_RESTARTED = 1 << 24  # ticks, some minutes: by so much times step back where another sender goes on
_START = annexb.START_CODE

_H264_SLICES, _H264_IDR, _H264_SEI = 0b111110, 1 << 5, 1 << 6
_H264_LAST, _H264_STAP_A, _H264_FU_A = 23, 24, 28
_HEVC_SLICES, _HEVC_KEYS = (1 << 32) - 1, 0xFF << 16
_HEVC_LAST, _HEVC_AP, _HEVC_FU = 47, 48, 49

# A packet that goes on with a fragment: the two bytes before an interleaved length, that, RTP's header, and the fragment's.
_H264_MORE, _HEVC_MORE = struct.Struct(">HHHHIIH"), struct.Struct(">HHHHIIHB")


class AccessUnit(NamedTuple):
    """One picture.

    Attributes:
        payload: its NAL units behind start codes.
        pts: its RTP timestamp without wrapping, from 0 at the first one; of the track's clock.
        timestamp: the same as it came, 32 bits.
        is_key: it begins with a picture for which no other is needed, or says from where on none is.
    """

    payload: bytes
    pts: int
    timestamp: int
    is_key: bool


class Depacketizer:
    """Pictures of one track of one session.

    Args:
        codec: "h264" or "hevc".
        payload_type: of the track; other packets are passed over.

    Attributes:
        is_open: a unit in fragments is being put together.
        lost: how many times packets were missing.
        report: the last sender report: microseconds of Unix time by the camera's clock, and the timestamp of that moment;
            None without one, or from a camera that has no clock.
    """

    __slots__ = (
        "_expected",
        "_fragment",
        "_is_h264",
        "_kept",
        "_key_types",
        "_marked",
        "_marks_slices",
        "_more",
        "_more_kind",
        "_parts",
        "_payload_type",
        "_pts",
        "_reporter",
        "_size",
        "_slices",
        "_ssrc",
        "_timestamp",
        "_types",
        "codec",
        "is_open",
        "lost",
        "report",
    )

    def __init__(self, codec: str, payload_type: int) -> None:
        self.codec, self._payload_type, self._is_h264 = codec, payload_type, codec == "h264"
        self._slices = _H264_SLICES if self._is_h264 else _HEVC_SLICES
        self._key_types = _H264_IDR if self._is_h264 else _HEVC_KEYS
        self._more = _H264_MORE if self._is_h264 else _HEVC_MORE
        self._more_kind = _PLAIN << 8 | payload_type
        self._fragment: tuple[
            int, ...
        ] = ()  # timestamp, source and header of what goes on with the one that is open
        # Of the picture that is being put together: views of the buffer, and what had to be copied. So a picture is copied
        # once, into its own bytes; a buffer that grows with it would leave holes in the memory.
        self._parts: list[bytes | memoryview] = []
        self._kept = self._size = 0
        self._types = 0  # a bit for each type of NAL unit in it
        self.is_open = False
        self._ssrc = self._reporter = self._timestamp = self._expected = self._marked = -1
        self._pts = 0
        self._marks_slices = False
        self.lost = 0
        self.report: tuple[int, int] | None = None

    def take(self, buffer: bytearray, view: memoryview, at: int, end: int) -> list[AccessUnit] | None:
        """Take the RTP packet in `buffer[at:end]`; return the pictures that are complete by it, mostly none.

        `view`: of the same buffer. What it holds must stay as it is until `keep`.
        """
        body = at + _RTP_HEADER
        if body >= end:
            self._pass_over(buffer, at, end)
            return None
        first, second, sequence, timestamp, ssrc = _HEADER.unpack_from(buffer, at)
        if first != _PLAIN:
            body, stop = _payload_of(buffer, at, end)
            if body >= stop:
                self._pass_over(buffer, at, end)
                return None
            end = stop
        if second & 0x7F != self._payload_type:
            return None
        if sequence != self._expected or ssrc != self._ssrc:
            self._interrupted(sequence, ssrc)
        self._expected = sequence + 1 & 0xFFFF
        done = self._step_to(timestamp) if timestamp != self._timestamp else None
        if self._is_h264:
            self._take_h264(buffer, view, body, end)
        else:
            self._take_hevc(buffer, view, body, end)
        # Some mark every packet: within a fragment nothing ends.
        if second & 0x80 and not self.is_open and self._types & self._slices and not self._marks_slices:
            finished = self._finished()
            self._watch_marks(finished)
            return finished if done is None else done + finished
        return done

    def take_more(self, buffer: bytearray, view: memoryview, at: int, end: int, head: int) -> int:
        """Take the packets from `buffer[at]` on that do nothing but go on with what is open; return where that ends.

        Most are of this kind, and nothing can be complete by them: here one costs a tenth of what `take` does.

        Args:
            head: the two bytes with which an interleaved packet of pictures begins, as a number.
        """
        unpack, size, last = self._more.unpack_from, self._more.size, end - self._more.size
        kind, fragment, parts, room = self._more_kind, self._fragment, self._parts, _MOST_BYTES - self._size
        while at < last and room >= 0:
            fields = unpack(buffer, at)
            stop = at + _INTERLEAVED + fields[1]
            if (
                fields[3] != self._expected
                or fields[4:] != fragment
                or fields[2] != kind
                or fields[0] != head
                or not at + size < stop <= end
            ):
                break
            parts.append(view[at + size : stop])
            room -= fields[1] - _RTP_HEADER
            self._expected = self._expected + 1 & 0xFFFF
            at = stop
        self._size, self.is_open = _MOST_BYTES - room, room >= 0
        return at

    def keep(self) -> None:
        """Copy what is not complete: the buffer is about to be used for what comes next."""
        if self._kept < len(self._parts):
            self._parts[self._kept :] = [b"".join(self._parts[self._kept :])]
            self._kept = len(self._parts)

    def take_report(self, buffer: bytearray, at: int, end: int) -> bool:
        """Take the RTCP packets in `buffer[at:end]`, several in one (RFC 3550, 6.1); return whether the sender says goodbye.

        A sender report tells when by the camera's clock a timestamp was (6.4.1).
        """
        is_over = False
        while end - at > _RTCP_HEADER and buffer[at] >> 6 == _VERSION:
            following = at + 4 + 4 * (buffer[at + 2] << 8 | buffer[at + 3])
            if buffer[at + 1] == _SENDER_REPORT and at + _SENDER_REPORT_BYTES <= min(following, end):
                self._note_report(*_REPORT.unpack_from(buffer, at + _RTCP_HEADER))
            elif buffer[at + 1] == _BYE:
                source = buffer[at + _RTCP_HEADER : min(at + 2 * _RTCP_HEADER, end)]
                is_over = is_over or int.from_bytes(source) == self._ssrc
            at = following
        return is_over

    def _note_report(self, ssrc: int, seconds: int, fraction: int, timestamp: int) -> None:
        if ssrc == self._ssrc or self._ssrc < 0:  # one may come before the first picture
            unix_us = (seconds - _NTP_1970_S) * 1_000_000 + (fraction * 1_000_000 >> 32)
            # A camera that has no clock reports zero, or how long it has been running.
            self._reporter, self.report = ssrc, (unix_us, timestamp) if unix_us > 0 else None

    def since_report(self, timestamp: int) -> int:
        """Return how many ticks `timestamp` is past the last sender report; negative before it."""
        return 0 if self.report is None else _step(self.report[1], timestamp)

    def _pass_over(self, buffer: bytearray, at: int, end: int) -> None:
        """Count a packet that brings nothing: a camera may send padding alone, and it is not missing then."""
        if end - at >= _RTP_HEADER:
            first, second, sequence, _, _ = _HEADER.unpack_from(buffer, at)
            if first >> 6 == _VERSION and second & 0x7F == self._payload_type and sequence == self._expected:
                self._expected = sequence + 1 & 0xFFFF

    def _step_to(self, timestamp: int) -> list[AccessUnit] | None:
        """Go on to another moment; return the picture that has ended by that.

        What has no picture in it yet stays: some cameras give parameter sets a timestamp of their own.
        """
        done = None
        if self._types & self._slices:
            done = self._finished()
        elif self._size > _MOST_AHEAD_BYTES:
            self._drop()
        if self._timestamp >= 0:
            self._pts += _step(self._timestamp, timestamp)
        self._timestamp = timestamp
        return done

    def _interrupted(self, sequence: int, ssrc: int) -> None:
        """Note that packets are missing, or that somebody else sends now: what is in fragments has no end."""
        if ssrc != self._ssrc:
            if (
                self._ssrc >= 0
            ):  # times of two senders have nothing to do with each other, however close they are
                self._pts -= _RESTARTED
                self._timestamp = -1
            self._drop()
            self._ssrc, self._marked = ssrc, -1
            if ssrc != self._reporter:
                self.report = None
        elif sequence + 1 & 0xFFFF != self._expected:  # nor do numbers count that stand still
            self.lost += 1
            self.is_open = False

    def _finished(self) -> list[AccessUnit]:
        payload, types = b"".join(self._parts), self._types
        self._drop()
        is_key = bool(types & self._key_types)
        if not is_key and self._is_h264 and types & _H264_SEI:
            is_key = annexb.recovers(payload)
        return [AccessUnit(payload, self._pts, self._timestamp, is_key)]

    def _drop(self) -> None:
        self._parts, self._types, self.is_open = [], 0, False
        self._kept = self._size = 0

    def _watch_marks(self, finished: list[AccessUnit]) -> None:
        """Notice a camera that marks the end of each slice, not of each picture: its pictures end with their timestamps."""
        if self._timestamp == self._marked:
            self._marks_slices = not annexb.begins_picture(finished[0].payload, self.codec)
        self._marked = self._timestamp

    def _take_h264(self, buffer: bytearray, view: memoryview, at: int, end: int) -> None:
        first = buffer[at]
        kind = first & 0x1F
        if kind == _H264_FU_A:
            if at + 2 >= end:
                return
            header = buffer[at + 1]
            if header & 0x80 and self._size <= _MOST_BYTES:
                self._begin(header & 0x1F, bytes((first & 0xE0 | header & 0x1F,)))
                self.is_open = True
                self._fragment = self._timestamp, self._ssrc, first << 8 | header & 0x1F
            if self.is_open:
                self._parts.append(view[at + 2 : end])
                self._size += end - at
                self.is_open = not header & 0x40 and self._size <= _MOST_BYTES
        elif kind == _H264_STAP_A:
            self._take_several(view, at + 1, end)
        elif 0 < kind <= _H264_LAST:
            self._take_whole(kind, view[at:end])

    def _take_hevc(self, buffer: bytearray, view: memoryview, at: int, end: int) -> None:
        if at + 3 >= end:
            return
        kind = buffer[at] >> 1 & 0x3F
        if kind == _HEVC_FU:
            header = buffer[at + 2]
            if header & 0x80 and self._size <= _MOST_BYTES:
                self._begin(header & 0x3F, bytes((buffer[at] & 0x81 | (header & 0x3F) << 1, buffer[at + 1])))
                self.is_open = True
                unit = buffer[at] << 8 | buffer[at + 1]
                self._fragment = self._timestamp, self._ssrc, unit, header & 0x3F
            if self.is_open:
                self._parts.append(view[at + 3 : end])
                self._size += end - at
                self.is_open = not header & 0x40 and self._size <= _MOST_BYTES
        elif kind == _HEVC_AP:
            self._take_several(view, at + 2, end)
        elif kind <= _HEVC_LAST:
            self._take_whole(kind, view[at:end])

    def _take_several(self, view: memoryview, at: int, end: int) -> None:
        while at + 2 < end:
            begin = at + 2
            at = begin + (view[at] << 8 | view[at + 1])
            if begin < at <= end:
                self._take_whole(annexb.nal_type(view[begin:at], self.codec), view[begin:at])

    def _take_whole(self, kind: int, unit: memoryview) -> None:
        if self._size <= _MOST_BYTES:
            self._begin(kind, unit)
        self.is_open = False

    def _begin(self, kind: int, first: bytes | memoryview) -> None:
        self._types |= 1 << kind
        self._parts += (_START, first)
        self._size += len(_START) + len(first)


def _step(earlier: int, later: int) -> int:
    return (later - earlier + 0x80000000 & 0xFFFFFFFF) - 0x80000000


def _payload_of(buffer: bytearray, at: int, end: int) -> tuple[int, int]:
    """Return where the payload of an RTP packet begins and ends that is not of the plainest kind (RFC 3550, 5.1)."""
    first = buffer[at]
    if first >> 6 != _VERSION:
        return end, end
    body = at + _RTP_HEADER + 4 * (first & 0x0F)
    if first & 0x10 and body + 4 <= end:
        body += 4 + 4 * (buffer[body + 2] << 8 | buffer[body + 3])
    if first & 0x20:
        end -= buffer[end - 1]
    return body, end
