# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera over RTSP, read by FFmpeg's demuxer: RTP inside the TCP connection or in datagrams; Digest or Basic.

One thread uses a source, and mostly sleeps in it. Nothing is decoded here.
"""

import struct
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self, cast

import av
from av.container.input import InputContainer
from av.video.stream import VideoStream

from gridwatch.core.camera import Address, Transport
from gridwatch.core.clock import Clock
from gridwatch.core.redact import SecretUrl
from ingest.errors import (
    NotFoundError,
    SourceError,
    StreamEndedError,
    TimedOutError,
    UnauthorizedError,
    UnreachableError,
)
from ingest.packets import Packet, StreamInfo, described_anew, first_video, sequence_sets, stream_info
from ingest.resolver import locate
from ingest.timeline import PtsTimeline
from ingest.whole_keys import WholeKeys

_WALL_CLOCK = struct.Struct("=q")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_US = 4_000_000_000_000_000
_REPORT_EVERY = 50  # packets: how often the camera's own time is read, beside each key frame
# A burst of one key frame must fit the socket, as far as the kernel allows; what comes out of order is waited for, as
# long as no picture becomes late by it.
_DATAGRAMS = {"buffer_size": str(2 << 20), "max_delay": "200000", "reorder_queue_size": "512"}


@dataclass(frozen=True, slots=True)
class RtspOptions:
    """How long a camera is waited for.

    Attributes:
        stall_s: a connection over which nothing comes for so long is given up. The first picture must come within half
            of it: some cameras begin with their next key frame.
        open_s: from the first byte sent to the first picture received; the watchdog for a camera that answers PLAY
            and then sends reports, but no picture.
        transport: how pictures travel. What is asked for is what is used: where datagrams do not come through, the
            camera is silent, and that is said; nobody changes over to TCP behind the operator's back.
    """

    stall_s: float = 12.0
    open_s: float = 15.0
    transport: Transport = Transport.TCP

    @property
    def read_s(self) -> float:
        """What FFmpeg's own time-out is set to: at the first it hands out its last picture, at the second it fails."""
        return self.stall_s / 2


class RtspSource:
    """The packets of an RTSP camera.

    Args:
        address: its URL, with user and password where the camera wants them (they reach FFmpeg and nothing else), or
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
        self._container: InputContainer | None = None

    def __enter__(self) -> Self:
        """Connect, and wait for the first picture.

        Raises:
            SourceError: see ingest.errors.
        """
        try:
            self._info = self._open_known(locate(self._address))
        except SourceError:
            self._close()
            raise
        self._sets = sequence_sets(self._info.extradata, self._info.codec)
        self._begin_session()
        self._keys.held = None
        self._timeline.reset()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Hang up. Only the thread that opened may do this."""
        self._close()

    @property
    def info(self) -> StreamInfo:
        """What the stream is; once it was opened."""
        return self._info

    def packets(self) -> Generator[Packet, None, None]:
        """Yield packets as they come.

        Raises:
            TimedOutError: nothing came for `stall_s`.
            StreamEndedError: the camera closed the stream (a killed one ends it like a polite one).
        """
        if self._container is None:
            raise UnreachableError("the stream is not open")
        failure: SourceError = StreamEndedError("the camera closed the stream")
        keys = self._keys
        demuxed = self._container.demux(first_video(self._container))
        try:
            # closed by name: a generator of PyAV's that is only dropped leaks the packet that it reads into
            with closing(cast("Generator[av.Packet[VideoStream], None, None]", demuxed)) as raws:
                for raw in raws:
                    if not raw.size:
                        continue
                    packet = self._packet(raw)
                    if packet.is_key or keys.held is not None:
                        yield from keys.take(packet)
                    else:
                        yield packet
        except av.FFmpegError as error:
            failure = self._while_reading(error)
        raise failure  # outside of the except clause: FFmpeg's exception holds the password

    def _packet(self, raw: "av.Packet[VideoStream]") -> Packet:
        payload, is_key, pts = bytes(raw), raw.is_keyframe, raw.pts
        timeline = self._timeline
        pts_s = None if pts is None else pts * self._tick_s
        camera_at = ahead_s = None
        self._count += 1
        if is_key or self._count % _REPORT_EVERY == 0:
            if is_key:
                self._note_changes(payload)
            camera_at = _camera_at(raw)
            at, captured_at = timeline.place(pts_s, camera_at)
            ahead_s = None if camera_at is None else timeline.camera_ahead_s
        else:
            at = timeline.at(pts_s)
            captured_at = timeline.captured(at)
        return Packet(
            self._camera_id,
            payload,
            pts,
            raw.dts,
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

    def _open_known(self, url: SecretUrl) -> StreamInfo:
        # FFmpeg's default analysis takes 1 to 2 s a camera; 1 µs is enough wherever the size stands in the
        # description or in the first key frame.
        began = self._clock.mono_s()
        info = self._open(url, analyze=False)
        if info.width:
            return info
        if self._clock.mono_s() - began > self._options.read_s / 2:
            raise TimedOutError("it answers PLAY and sends no picture")
        self._close()
        return self._open(url, analyze=True)

    def _open(self, url: SecretUrl, *, analyze: bool) -> StreamInfo:
        options = {
            "rtsp_transport": self._options.transport.value,
            "allowed_media_types": "video",
            "timeout": str(round(self._options.read_s * 1e6)),
        }
        if self._options.transport is Transport.UDP:
            options |= _DATAGRAMS
        if not analyze:
            options["analyzeduration"] = "1"
        began, failure = self._clock.mono_s(), None
        try:
            # Of PyAV's two timeouts only the opening one: the reading one would ask Python, and so take the GIL, for
            # every packet of every camera. It ends the wait for a first picture where reports go on coming.
            self._container = av.open(
                url.reveal(), "r", "rtsp", options=options, timeout=(self._options.open_s, None)
            )
        except av.FFmpegError as error:
            failure = self._while_opening(error, self._clock.mono_s() - began)
        if failure is not None or self._container is None:
            raise failure or UnreachableError("the stream is not open")
        return stream_info(first_video(self._container))

    def _while_opening(self, error: av.FFmpegError, took_s: float) -> SourceError:
        match error:
            case av.HTTPUnauthorizedError() | av.HTTPForbiddenError():
                return UnauthorizedError("user or password are refused")
            case av.HTTPNotFoundError():
                return NotFoundError("the camera knows no such path")
            case av.HTTPError() | av.HTTPClientError():
                return UnreachableError("the camera refuses to serve: busy, or all its sessions are taken")
            case av.InvalidDataError() if took_s < self._options.read_s / 2:
                return UnreachableError("what answers does not speak RTSP")
            case (
                av.ExitError() | av.TimeoutError() | av.InvalidDataError()
            ):  # the last is a time-out in DESCRIBE
                return TimedOutError("it did not answer in time")
        return UnreachableError(f"no connection ({error.strerror})")

    def _while_reading(self, error: av.FFmpegError) -> SourceError:
        if isinstance(error, av.TimeoutError | av.ExitError):
            return TimedOutError(f"nothing came for {self._options.stall_s:.0f} s")
        return StreamEndedError(f"the stream broke off ({error.strerror})")

    def _close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None


def _camera_at(raw: "av.Packet[VideoStream]") -> datetime | None:
    """Return when the camera says that it took this picture, by its last sender report (FFmpeg's side data `prft`)."""
    said = bytes(raw.get_sidedata("prft"))
    if len(said) < _WALL_CLOCK.size:
        return None
    (unix_us,) = _WALL_CLOCK.unpack_from(said)
    if not 0 < unix_us < _LATEST_US:  # a camera that has no clock reports zero (RFC 3550, 6.4.1)
        return None
    return _EPOCH + timedelta(microseconds=unix_us)
