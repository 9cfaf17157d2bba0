# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera over RTSP as FFmpeg's demuxer reads it: datagrams, TLS, and whatever our own reader does not understand."""

import struct
from collections.abc import Generator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Self, cast

import av
from av.container.input import InputContainer
from av.video.stream import VideoStream

from gridwatch.core.camera import Transport
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
from ingest.packets import StreamInfo, first_video, stream_info

_WALL_CLOCK = struct.Struct("=q")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_US = 4_000_000_000_000_000
# A burst of one key frame must fit the socket, as far as the kernel allows; what comes out of order is waited for, as
# long as no picture becomes late by it.
_DATAGRAMS = {"buffer_size": str(2 << 20), "max_delay": "200000", "reorder_queue_size": "512"}


class FfmpegUnit(NamedTuple):
    """One picture, and FFmpeg's own packet of it."""

    payload: bytes
    pts: int | None
    is_key: bool
    raw: "av.Packet[VideoStream]"


class FfmpegStream:
    """One opening of a camera's stream. For one thread: FFmpeg's demuxer must not be closed from another.

    Args:
        within_s: from the first byte to the first picture: the watchdog for a camera that answers PLAY and then sends
            reports, but no picture.
        answers_s: FFmpeg's own time-out: at the first it hands out its last picture, at the second it fails.
    """

    def __init__(self, clock: Clock, *, within_s: float, answers_s: float, transport: Transport) -> None:
        self._clock, self._within_s, self._answers_s, self._transport = clock, within_s, answers_s, transport
        self._container: InputContainer | None = None

    def open(self, url: SecretUrl) -> Self:
        """Connect, and wait for the first picture.

        Raises:
            SourceError: see ingest.errors.
        """
        try:
            self.info = self._open_known(url)
        except SourceError:
            self.close()
            raise
        return self

    def units(self) -> Generator[FfmpegUnit, None, None]:
        """Yield pictures as they come.

        Raises:
            TimedOutError: nothing came for twice `answers_s`.
            StreamEndedError: the camera closed the stream (a killed one ends it like a polite one).
        """
        if self._container is None:
            raise UnreachableError("the stream is not open")
        failure: SourceError = StreamEndedError("the camera closed the stream")
        demuxed = self._container.demux(first_video(self._container))
        try:
            # closed by name: a generator of PyAV's that is only dropped leaks the packet that it reads into
            with closing(cast("Generator[av.Packet[VideoStream], None, None]", demuxed)) as raws:
                for raw in raws:
                    if raw.size:
                        yield FfmpegUnit(bytes(raw), raw.pts, raw.is_keyframe, raw)
        except av.FFmpegError as error:
            failure = self._while_reading(error)
        raise failure  # outside of the except clause: FFmpeg's exception holds the password

    def camera_at(self, unit: FfmpegUnit) -> datetime | None:
        """Return when the camera says that it took this picture, by its last sender report (FFmpeg's side data `prft`)."""
        said = bytes(unit.raw.get_sidedata("prft"))
        if len(said) < _WALL_CLOCK.size:
            return None
        (unix_us,) = _WALL_CLOCK.unpack_from(said)
        if not 0 < unix_us < _LATEST_US:  # a camera that has no clock reports zero (RFC 3550, 6.4.1)
            return None
        return _EPOCH + timedelta(microseconds=unix_us)

    def close(self) -> None:
        """Hang up."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _open_known(self, url: SecretUrl) -> StreamInfo:
        # FFmpeg's default analysis takes 1 to 2 s a camera; 1 µs is enough wherever the size stands in the
        # description or in the first key frame.
        began = self._clock.mono_s()
        info = self._opened(url, analyze=False)
        if info.width:
            return info
        if self._clock.mono_s() - began > self._answers_s / 2:
            raise TimedOutError("it answers PLAY and sends no picture")
        self.close()
        return self._opened(url, analyze=True)

    def _opened(self, url: SecretUrl, *, analyze: bool) -> StreamInfo:
        options = {
            "rtsp_transport": self._transport.value,
            "allowed_media_types": "video",
            "timeout": str(round(self._answers_s * 1e6)),
        }
        if self._transport is Transport.UDP:
            options |= _DATAGRAMS
        if not analyze:
            options["analyzeduration"] = "1"
        began, failure = self._clock.mono_s(), None
        try:
            # Of PyAV's two timeouts only the opening one: the reading one would ask Python, and so take the GIL, for
            # every packet of every camera. It ends the wait for a first picture where reports go on coming.
            self._container = av.open(
                url.reveal(), "r", "rtsp", options=options, timeout=(self._within_s, None)
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
            case av.InvalidDataError() if took_s < self._answers_s / 2:
                return UnreachableError("what answers does not speak RTSP")
            case (
                av.ExitError() | av.TimeoutError() | av.InvalidDataError()
            ):  # the last is a time-out in DESCRIBE
                return TimedOutError("it did not answer in time")
        return UnreachableError(f"no connection ({error.strerror})")

    def _while_reading(self, error: av.FFmpegError) -> SourceError:
        if isinstance(error, av.TimeoutError | av.ExitError):
            return TimedOutError(f"nothing came for {2 * self._answers_s:.0f} s")
        return StreamEndedError(f"the stream broke off ({error.strerror})")
