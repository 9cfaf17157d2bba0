# SPDX-License-Identifier: AGPL-3.0-or-later
"""A camera over RTSP, read by FFmpeg's demuxer: RTP inside the TCP connection, Digest where the camera wants it.

One thread uses a source, and mostly sleeps in it. Nothing is decoded here.
"""

from collections.abc import Generator
from dataclasses import dataclass
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import av
from av.container.input import InputContainer

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
from ingest.packets import Packet, StreamInfo, first_video, stream_info
from ingest.timeline import PtsTimeline

_SCHEMES = ("rtsp", "rtsps")


@dataclass(frozen=True, slots=True)
class RtspOptions:
    """How long a camera is waited for.

    Attributes:
        stall_s: a connection over which nothing comes for so long is given up. The first picture must come within half
            of it: some cameras begin with their next key frame.
        open_s: from the first byte sent to the first picture received; the watchdog for a camera that answers PLAY
            and then sends reports, but no picture.
    """

    stall_s: float = 12.0
    open_s: float = 15.0

    @property
    def read_s(self) -> float:
        """What FFmpeg's own time-out is set to: at the first it hands out its last picture, at the second it fails."""
        return self.stall_s / 2


class RtspSource:
    """The packets of an RTSP camera.

    Args:
        url: with user and password where the camera wants them; they reach FFmpeg and nothing else.
    """

    def __init__(
        self, camera_id: str, url: SecretUrl, clock: Clock, options: RtspOptions | None = None
    ) -> None:
        self._camera_id, self._url, self._clock = camera_id, url, clock
        self._options = options or RtspOptions()
        self._timeline = PtsTimeline(clock)
        self._session = 0
        self._container: InputContainer | None = None

    def __enter__(self) -> Self:
        """Connect, and wait for the first picture.

        Raises:
            SourceError: see ingest.errors.
        """
        if urlsplit(self._url.reveal()).scheme.lower() not in _SCHEMES:
            raise UnreachableError("the address is no rtsp:// or rtsps:// URL")
        try:
            self._info = self._open_known()
        except SourceError:
            self._close()
            raise
        # monotonic milliseconds: no other opening of this camera has the same, whichever object opened it
        self._session = max(self._session + 1, round(self._clock.mono_s() * 1000))
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
        try:
            for raw in self._container.demux(first_video(self._container)):
                if raw.size:
                    yield self._packet(bytes(raw), raw.pts, raw.dts, is_key=raw.is_keyframe)
        except av.FFmpegError as error:
            failure = self._while_reading(error)
        raise failure  # outside of the except clause: FFmpeg's exception holds the password

    def _packet(self, payload: bytes, pts: int | None, dts: int | None, *, is_key: bool) -> Packet:
        info = self._info
        at, captured_at = self._timeline.place(None if pts is None else float(pts * info.time_base))
        return Packet(
            camera_id=self._camera_id,
            payload=payload,
            pts=pts,
            dts=dts,
            is_key=is_key,
            at_mono_s=at,
            captured_at=captured_at,
            session=self._session,
            info=info,
        )

    def _open_known(self) -> StreamInfo:
        # FFmpeg's default analysis takes 1 to 2 s a camera; 1 µs is enough wherever the size stands in the
        # description or in the first key frame.
        began = self._clock.mono_s()
        info = self._open(analyze=False)
        if info.width:
            return info
        if self._clock.mono_s() - began > self._options.read_s / 2:
            raise TimedOutError("it answers PLAY and sends no picture")
        self._close()
        return self._open(analyze=True)

    def _open(self, *, analyze: bool) -> StreamInfo:
        options = {
            "rtsp_transport": "tcp",
            "allowed_media_types": "video",
            "timeout": str(round(self._options.read_s * 1e6)),
        }
        if not analyze:
            options["analyzeduration"] = "1"
        began, failure = self._clock.mono_s(), None
        try:
            # Of PyAV's two timeouts only the opening one: the reading one would ask Python, and so take the GIL, for
            # every packet of every camera. It ends the wait for a first picture where reports go on coming.
            self._container = av.open(
                self._url.reveal(), "r", "rtsp", options=options, timeout=(self._options.open_s, None)
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
                return UnreachableError(f"the camera refuses to serve ({error.strerror})")
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
