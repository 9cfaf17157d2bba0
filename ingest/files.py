# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clips behind the same port as cameras, on media time: nothing waits, nothing is dropped."""

from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import av
from av.container.input import InputContainer
from av.video.stream import VideoStream

from gridwatch.core.clock import Clock
from ingest.errors import DamagedError, NotFoundError, SourceError, UnreachableError
from ingest.packets import Packet, StreamInfo, first_video, stream_info


class FileSource:
    """The packets of a clip: `at_mono_s` is `start_mono_s` plus the media time since its first picture.

    The clock only turns that into wall time; whoever drives the lockstep moves it on.
    """

    def __init__(self, camera_id: str, path: Path, clock: Clock, start_mono_s: float = 0.0) -> None:
        self._camera_id, self._path, self._clock, self._start_mono_s = camera_id, path, clock, start_mono_s
        self._session = 0
        self._container: InputContainer | None = None

    def __enter__(self) -> Self:
        """Open the clip.

        Raises:
            SourceError: it is not there, not readable, or has no video that is decoded here.
        """
        failure: SourceError
        try:
            self._container = av.open(self._path, "r")
            self._info = stream_info(first_video(self._container))
        except FileNotFoundError:
            failure = NotFoundError(f"{self._path} does not exist")
        except (av.FFmpegError, OSError) as error:
            failure = UnreachableError(f"{self._path} cannot be read as a clip ({error.strerror})")
        except SourceError as error:
            self._close()
            failure = error
        else:
            self._session += 1
            return self
        raise failure

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the clip."""
        self._close()

    @property
    def info(self) -> StreamInfo:
        """What the clip is; once it was opened."""
        return self._info

    def packets(self) -> Generator[Packet, None, None]:
        """Yield the clip's packets in decoding order.

        Raises:
            DamagedError: the clip breaks off in a way that FFmpeg cannot read past.
        """
        if self._container is None:
            raise UnreachableError(f"{self._path} is not open")
        stream = first_video(self._container)
        try:
            yield from self._demux(self._container, stream)
        except av.FFmpegError as error:
            failure = DamagedError(f"{self._path} cannot be read on ({error.strerror})")
        else:
            return
        raise failure

    def _demux(self, container: InputContainer, stream: VideoStream) -> Generator[Packet, None, None]:
        info = self._info
        tick = info.time_base
        first = stream.start_time or 0
        last_s = 0.0
        for raw in container.demux(stream):
            if not raw.size:
                continue
            time = raw.pts if raw.pts is not None else raw.dts
            if time is not None:
                last_s = float((time - first) * tick)
            at = self._start_mono_s + last_s
            yield Packet(
                camera_id=self._camera_id,
                payload=bytes(raw),
                pts=raw.pts,
                dts=raw.dts,
                is_key=raw.is_keyframe,
                at_mono_s=at,
                captured_at=self._clock.now() - timedelta(seconds=self._clock.mono_s() - at),
                session=self._session,
                info=info,
            )

    def _close(self) -> None:
        if self._container is not None:
            self._container.close()
            self._container = None
