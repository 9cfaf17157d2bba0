# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a user could pick instead to read cameras: OpenCV, Ultralytics' loader, and a loop over PyAV that decodes key frames only.

Each reads its cameras until the process ends and counts the pictures it hands out; each is used as its documentation shows.
"""

import os
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

WIDTH = 640
STRIDE = 5


class Opencv:
    """`cv2.VideoCapture.read()` in a thread per camera: every picture is decoded and converted to BGR."""

    def __init__(self, urls: Sequence[str]) -> None:
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp"
        self.counts = [0] * len(urls)
        _threads(self._read, urls)

    def _read(self, index: int, url: str) -> None:
        import cv2  # noqa: PLC0415  only the contestant that uses it pays for it

        capture = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
        while capture.read()[0]:
            self.counts[index] += 1


class LoadStreams:
    """Ultralytics' own loader of several streams, with every fifth picture handed out."""

    def __init__(self, urls: Sequence[str]) -> None:
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = "rtsp_transport;tcp"
        self.counts = [0] * len(urls)
        self._list = Path(tempfile.mkdtemp()) / "cameras.streams"
        self._list.write_text("\n".join(urls), encoding="utf-8")
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        from ultralytics.data.loaders import LoadStreams as Loader  # noqa: PLC0415  as above

        for _, images, _ in Loader(str(self._list), vid_stride=STRIDE):
            for index in range(len(images)):
                self.counts[index] += 1


class KeyOnly:
    """What a skilled user would write: PyAV, a loop and a decoder per camera, key frames only, scaled to 640 wide."""

    def __init__(self, urls: Sequence[str]) -> None:
        self.counts = [0] * len(urls)
        _threads(self._read, urls)

    def _read(self, index: int, url: str) -> None:
        import av  # noqa: PLC0415  as above

        with av.open(url, options={"rtsp_transport": "tcp"}) as container:
            stream = container.streams.video[0]
            stream.codec_context.skip_frame = "NONKEY"
            stream.thread_type = "NONE"
            for frame in container.decode(stream):
                height = round(frame.height * WIDTH / frame.width)
                frame.reformat(WIDTH, height, "bgr24").to_ndarray()
                self.counts[index] += 1


OTHERS: dict[str, Callable[[Sequence[str]], Any]] = {
    "opencv": Opencv,
    "loadstreams": LoadStreams,
    "keyonly": KeyOnly,
}


def _threads(read: Callable[[int, str], None], urls: Sequence[str]) -> None:
    for index, url in enumerate(urls):
        threading.Thread(target=read, args=(index, url), daemon=True).start()
