# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a camera's encoder does to a picture: a key frame of H.264 at a bit rate that hurts."""

from fractions import Fraction

import av
import numpy as np
from numpy.typing import NDArray


def through_h264(bgr: NDArray[np.uint8], crf: int) -> NDArray[np.uint8]:
    """Return (h, w, 3) uint8 BGR as it comes out of H.264; sides must be even.

    Args:
        bgr: the picture.
        crf: x264's constant rate factor: 23 is its default, from 35 on blocks show.
    """
    encoder = av.CodecContext.create("libx264", "w")
    encoder.width, encoder.height = bgr.shape[1], bgr.shape[0]
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.options = {"crf": str(crf), "preset": "ultrafast", "tune": "zerolatency"}
    encoder.thread_count = 1
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(bgr), format="bgr24").reformat(format="yuv420p")
    frame.pts = 0
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoded = [
        out for packet in (*encoder.encode(frame), *encoder.encode(None)) for out in decoder.decode(packet)
    ]
    decoded += decoder.decode(None)
    return np.asarray(decoded[0].to_ndarray(format="bgr24"), np.uint8)
