# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera over RTSP: RTP inside the TCP connection or in datagrams, H.264 and H.265, Digest or Basic.

One thread uses a source, and mostly sleeps in it. Nothing is decoded here. Over TCP the stream is read by our own reader
(interleaved.py); datagrams, TLS, and what our reader does not understand are left to FFmpeg (rtsp_ffmpeg.py).
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Protocol, Self

import structlog

from gridwatch.core.camera import Address, Transport
from gridwatch.core.clock import Clock
from gridwatch.core.redact import SecretUrl
from ingest.errors import UnreachableError
from ingest.interleaved import InterleavedStream
from ingest.packets import Packet, StreamInfo, described_anew, sequence_sets
from ingest.resolver import locate
from ingest.rtsp_ffmpeg import FfmpegStream
from ingest.rtsp_session import NotUnderstoodError
from ingest.timeline import PtsTimeline
from ingest.whole_keys import WholeKeys

_REPORT_EVERY = 50  # packets: how often the camera's own time is read, beside each key frame


@dataclass(frozen=True, slots=True)
class RtspOptions:
    """How long a camera is waited for.

    Attributes:
        stall_s: a connection over which no picture comes for so long is given up. One answer is waited for half as long.
        open_s: from the first byte sent to the first picture received (some cameras begin with their next key frame).
        transport: how pictures travel. What is asked for is what is used: where datagrams do not come through, the
            camera is silent, and that is said; nobody changes over to TCP behind the operator's back.
    """

    stall_s: float = 12.0
    open_s: float = 15.0
    transport: Transport = Transport.TCP

    @property
    def answers_s(self) -> float:
        """How long one answer is waited for."""
        return self.stall_s / 2


class Unit(Protocol):
    """One picture as a stream brings it: Annex B, times in the stream's time base."""

    @property
    def payload(self) -> bytes: ...  # noqa: D102  see ingest.packets.Packet
    @property
    def pts(self) -> int | None: ...  # noqa: D102
    @property
    def is_key(self) -> bool: ...  # noqa: D102


class Stream(Protocol):
    """One opening of a stream."""

    @property
    def info(self) -> StreamInfo:
        """What it is."""
        ...

    def units(self) -> Generator[Any, None, None]:
        """Yield its pictures as they come; raises SourceError at its end."""
        ...

    def camera_at(self, unit: Any) -> datetime | None:
        """Return when the camera says that it took a picture; None where it does not."""
        ...

    def close(self) -> None:
        """Hang up."""
        ...


class RtspSource:
    """The packets of an RTSP camera.

    Args:
        address: its URL, with user and password where the camera wants them (they reach the reader and nothing else), or
            who tells it: asked anew at every opening.
    """

    def __init__(
        self, camera_id: str, address: Address, clock: Clock, options: RtspOptions | None = None
    ) -> None:
        self._camera_id, self._address, self._clock = camera_id, address, clock
        self._options = options or RtspOptions()
        self._timeline = PtsTimeline(clock)
        self._session = self._count = 0
        self._sets: tuple[bytes, ...] = ()
        self._keys = WholeKeys()
        self._stream: Stream | None = None

    def __enter__(self) -> Self:
        """Connect, and wait for the first picture.

        Raises:
            SourceError: see ingest.errors.
        """
        self._stream = self._open(locate(self._address))
        self._info = self._stream.info
        self._sets = sequence_sets(self._info.extradata, self._info.codec)
        self._begin_session()
        self._keys.held = None
        self._timeline.reset()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Hang up. Only the thread that opened may do this."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    @property
    def info(self) -> StreamInfo:
        """What the stream is; once it was opened."""
        return self._info

    def packets(self) -> Generator[Packet, None, None]:
        """Yield packets as they come.

        Raises:
            TimedOutError: no picture came for `stall_s`.
            StreamEndedError: the camera closed the stream (a killed one ends it like a polite one).
        """
        stream = self._stream
        if stream is None:
            raise UnreachableError("the stream is not open")
        keys = self._keys
        with closing(stream.units()) as units:
            for unit in units:
                packet = self._packet(stream, unit)
                if packet.is_key or keys.held is not None:
                    yield from keys.take(packet)
                else:
                    yield packet

    def _open(self, url: SecretUrl) -> Stream:
        options = self._options
        if options.transport is Transport.TCP and url.reveal()[:5].lower() == "rtsp:":
            own = InterleavedStream(
                self._clock, within_s=options.open_s, answers_s=options.answers_s, stall_s=options.stall_s
            )
            try:
                return own.open(url)
            except NotUnderstoodError as error:
                structlog.get_logger().info("read_by_ffmpeg", camera_id=self._camera_id, reason=str(error))
        other = FfmpegStream(
            self._clock, within_s=options.open_s, answers_s=options.answers_s, transport=options.transport
        )
        return other.open(url)

    def _packet(self, stream: Stream, unit: Unit) -> Packet:
        payload, is_key, pts = unit.payload, unit.is_key, unit.pts
        timeline = self._timeline
        pts_s = None if pts is None else pts * self._tick_s
        camera_at = ahead_s = None
        self._count += 1
        if is_key or self._count % _REPORT_EVERY == 0:
            if is_key:
                self._note_changes(payload)
            camera_at = stream.camera_at(unit)
            at, captured_at = timeline.place(pts_s, camera_at)
            ahead_s = None if camera_at is None else timeline.camera_ahead_s
        else:
            at = timeline.at(pts_s)
            captured_at = timeline.captured(at)
        return Packet(
            self._camera_id,
            payload,
            pts,
            None,  # RTP knows no decoding time
            is_key,
            at,
            captured_at,
            self._session,
            self._info,
            camera_at,
            ahead_s,
        )

    def _note_changes(self, key: bytes) -> None:
        info = described_anew(self._info, key, self._sets)
        if info is not None:
            self._info, self._sets = info, sequence_sets(info.extradata, info.codec)
            self._begin_session()

    def _begin_session(self) -> None:
        # monotonic milliseconds: no other opening of this camera has the same, whichever object opened it
        self._session = max(self._session + 1, round(self._clock.mono_s() * 1000))
        self._tick_s = float(self._info.time_base)
