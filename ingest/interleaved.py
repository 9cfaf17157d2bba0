# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reads a camera whose RTP comes inside its RTSP connection (RFC 2326, 10.12), without FFmpeg. Nothing is decoded here.

FFmpeg's demuxer asks the kernel four times for each RTP packet, hundreds of times a second for each camera, and cannot be
told to stop waiting. Here one call takes whatever has come.
"""

from collections.abc import Generator, Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Self

from gridwatch.core.clock import Clock
from gridwatch.core.redact import SecretUrl
from ingest import rtsp_messages as messages
from ingest.errors import StreamEndedError, TimedOutError
from ingest.packets import StreamInfo, read_sets
from ingest.rtp import AccessUnit, Depacketizer
from ingest.rtsp_session import DOLLAR, FRAME_HEADER, Session
from ingest.sdp import Track

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BEGINS_ANSWER = b"RTSP/"
_DOLLAR, _LAST_CHANNEL = bytes((DOLLAR,)), 255
_BEGINNINGS = (b"", _DOLLAR, _BEGINS_ANSWER[:1])  # what may follow a packet, or nothing yet
_MOST_GARBAGE = 256 * 1024  # bytes, between two pictures
_REPORT_HOLDS_S = 60.0  # cameras report every few seconds; one that has stopped may have another clock by now


class InterleavedStream:
    """One opening of a camera's stream. For one thread, from `open` to `close`.

    Args:
        within_s: from the first byte to the first picture.
        answers_s: how long one answer is waited for.
        stall_s: a connection over which no picture comes for so long is given up, whatever else comes.

    Attributes:
        info: what the stream is; once it is open.
    """

    info: StreamInfo

    def __init__(self, clock: Clock, *, within_s: float, answers_s: float, stall_s: float) -> None:
        self._clock, self._stall_s = clock, stall_s
        self._first_until_mono_s = clock.mono_s() + within_s
        self._session = Session(clock, answers_s=answers_s, until_mono_s=self._first_until_mono_s)
        self._silent_s = self._tended_mono_s = 0.0
        self._garbage = 0
        self._first: AccessUnit | None = None
        self._coming = self._pictures()

    def open(self, url: SecretUrl) -> Self:
        """Connect, and wait for the first picture.

        Raises:
            SourceError: see ingest.errors.
            NotUnderstoodError: it may be worth a try with FFmpeg.
        """
        with ExitStack() as stack:
            stack.callback(self.close)
            self._session.play(url)
            track = self._session.track
            self._hz = track.clock_hz
            self._depacketizer = Depacketizer(track.codec, track.payload_type)
            first = self._first = self._wait_for_first()
            self._session.connection.gather()
            stack.pop_all()
        self.info = _described(track, first.payload)
        return self

    def units(self) -> Generator[AccessUnit, None, None]:
        """Yield pictures as they come.

        Raises:
            TimedOutError: none came for `stall_s`.
            StreamEndedError: the camera closed the connection.
        """
        first, self._first = self._first, None
        if first is not None:
            yield first
        for unit in self._coming:  # noqa: UP028  it outlives this iterator: who asks again goes on where it stood
            yield unit

    def camera_at(self, unit: AccessUnit) -> datetime | None:
        """Return when the camera says that it took a picture, by its last sender report; None where it made none of late."""
        report = self._depacketizer.report
        if report is None:
            return None
        since_s = self._depacketizer.since_report(unit.timestamp) / self._hz
        if abs(since_s) > _REPORT_HOLDS_S:
            return None
        return _EPOCH + timedelta(microseconds=report[0], seconds=since_s)

    def close(self) -> None:
        """Hang up."""
        self._coming.close()  # it holds this object: what was received would wait for the garbage collector
        self._session.close()

    def _pictures(self) -> Generator[AccessUnit, None, None]:
        yield from self._early()
        # Every byte of every camera passes here.
        connection, channels, pictures = (
            self._session.connection,
            self._session.channels,
            self._session.channels[0],
        )
        buffer, view, fill = connection.buffer, connection.view, connection.fill
        depacketizer, head = self._depacketizer, DOLLAR << 8 | pictures
        take, take_more, take_report, keep = (
            depacketizer.take,
            depacketizer.take_more,
            depacketizer.take_report,
            depacketizer.keep,
        )
        mono_s = self._clock.mono_s
        while True:
            start, end = connection.start, connection.end
            while end - start > FRAME_HEADER:
                channel = buffer[start + 1]
                if buffer[start] != DOLLAR or channel not in channels:
                    beside = self._beside(start)
                    if beside == start:
                        break
                    start = beside
                    continue
                body = start + FRAME_HEADER
                stop = body + (buffer[start + 2] << 8 | buffer[start + 3])
                if stop > end:
                    break
                start = stop
                if channel != pictures:
                    if take_report(buffer, body, stop):
                        raise StreamEndedError("the camera says that its stream is over")
                elif (units := take(buffer, view, body, stop)) is not None:
                    self._silent_s = self._garbage = 0
                    yield from units
                elif depacketizer.is_open:
                    start = take_more(buffer, view, start, end, head)
            connection.start = start
            keep()
            stands = fill()
            self._tend(mono_s(), stands=stands)

    def _wait_for_first(self) -> AccessUnit:
        stall_s, self._tended_mono_s = self._stall_s, self._clock.mono_s()
        self._stall_s = self._first_until_mono_s - self._tended_mono_s
        try:
            return next(self._coming)
        except TimedOutError:
            pass
        finally:
            self._stall_s = stall_s
        raise TimedOutError("it answers PLAY and sends no picture")

    def _early(self) -> Iterator[AccessUnit]:
        pictures, reports = self._session.channels
        for channel, packet in self._session.early:
            buffer = bytearray(packet)
            if channel == pictures:
                yield from self._depacketizer.take(buffer, memoryview(buffer), 0, len(buffer)) or ()
            elif channel == reports:
                self._depacketizer.take_report(buffer, 0, len(buffer))
        self._session.early.clear()

    def _tend(self, now_mono_s: float, *, stands: bool) -> None:
        """Keep the session, and give up what brings nothing any more."""
        if not stands:
            raise StreamEndedError("the camera closed the stream")
        # A machine that stood still for a minute has not waited for a minute.
        self._silent_s += min(now_mono_s - self._tended_mono_s, self._stall_s / 4)
        self._tended_mono_s = now_mono_s
        if self._silent_s > self._stall_s:
            raise TimedOutError(f"nothing came for {self._stall_s:.0f} s")
        self._session.tend(now_mono_s)

    def _beside(self, start: int) -> int:
        """Return where to go on after what is no packet of ours: an answer, a packet on another channel, or garbage.

        `start`: where more must come first.
        """
        connection = self._session.connection
        data = bytes(connection.view[start : connection.end])
        if data[0] == DOLLAR:
            stop = FRAME_HEADER + (data[2] << 8 | data[3])
            if stop > len(data):
                return start
            if data[stop : stop + 1] in _BEGINNINGS:
                return start + stop
        elif data.startswith(_BEGINS_ANSWER):
            with suppress(messages.ProtocolError):
                parsed = messages.parse(data)
                if parsed is None:
                    return start
                self._session.answered(parsed[0])
                return start + parsed[1]
        skipped = self._to_next_mark(data)
        self._garbage += skipped
        if self._garbage > _MOST_GARBAGE:
            raise StreamEndedError("what the camera sends is no RTSP any more")
        return start + skipped

    def _to_next_mark(self, data: bytes) -> int:
        marks = [
            _DOLLAR + bytes((channel,)) for channel in self._session.channels if channel <= _LAST_CHANNEL
        ]
        found = [at for mark in (*marks, _BEGINS_ANSWER) if (at := data.find(mark, 1)) > 0]
        return min(found, default=len(data) - data.endswith(_DOLLAR))


def _described(track: Track, first: bytes) -> StreamInfo:
    """Return what a stream is by its description and its first picture; a size of 0 until its first parameter sets."""
    width, height, fps = read_sets(track.extradata + first, track.codec) or (0, 0, None)
    tick_s = Fraction(1, track.clock_hz)
    return StreamInfo(track.codec, width, height, track.extradata, tick_s, track.fps or fps)
