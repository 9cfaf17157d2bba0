# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can be wrong with a camera's picture: functions from one I420 picture to another.

A picture is an array (height * 3 / 2, width) uint8: the luma plane above the two chroma planes, video range
(luma 16 to 235). Sizes and places are shares of the picture, so that a fault looks alike on both streams of a camera.
Everything is deterministic. Not here: when a fault begins, and how the picture is coded.
"""

import itertools
from collections.abc import Callable
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Planes: TypeAlias = NDArray[np.uint8]
Treatment: TypeAlias = Callable[[Planes], Planes]

BLACK, WHITE, GREY = 16, 235, 128
_SEED = 17
_BLUR_SIGMA_PX = 3
_NOISE_MARGIN_PX = 64
_BOARD_LUMA = 42
_BOARD_GRAIN_PX = 12


def untouched(picture: Planes) -> Planes:
    """Return the picture as it is."""
    return picture


def noisy(sigma: float) -> Treatment:
    """Add sensor noise of `sigma` luma levels, another one for each picture."""
    if sigma <= 0:
        return untouched
    rng = np.random.default_rng(_SEED)
    fields: dict[tuple[int, int], NDArray[np.int16]] = {}
    offsets = itertools.cycle(rng.integers(0, _NOISE_MARGIN_PX, (997, 2)).tolist())

    def treat(picture: Planes) -> Planes:
        height, width = picture.shape[0] * 2 // 3, picture.shape[1]
        field = fields.get((height, width))
        if field is None:
            shape = (height + _NOISE_MARGIN_PX, width + _NOISE_MARGIN_PX)
            fields.clear()
            field = fields[height, width] = np.rint(rng.normal(0, sigma, shape)).astype(np.int16)
        down, right = next(offsets)
        out = picture.copy()
        out[:height] = (picture[:height] + field[down : down + height, right : right + width]).clip(0, 255)
        return out

    return treat


def black(sigma: float) -> Treatment:
    """Return nothing but black with noise of `sigma` levels: a dead sensor, a closed lens."""
    add_noise = noisy(sigma)

    def treat(picture: Planes) -> Planes:
        dark: Planes = np.full_like(picture, GREY)
        dark[: _height(picture)] = BLACK
        return add_noise(dark)

    return treat


def washed_out(contrast: float) -> Treatment:
    """Keep `contrast` (0 to 1) of the picture's differences, all of them near white: overexposed."""
    levels = np.arange(256).clip(BLACK, WHITE)
    luma = np.rint(WHITE - (WHITE - levels) * contrast).astype(np.uint8)
    chroma = np.rint(GREY + (levels - GREY) * contrast).astype(np.uint8)

    def treat(picture: Planes) -> Planes:
        height = _height(picture)
        out: Planes = np.empty_like(picture)
        out[:height], out[height:] = luma[picture[:height]], chroma[picture[height:]]
        return out

    return treat


def blurred(share: float) -> Treatment:
    """Blur by a Gaussian whose sigma is `share` of the picture's width: out of focus."""

    def blur(plane: Planes) -> Planes:
        rows, columns = plane.shape
        fold = max(
            1, round(share * columns / _BLUR_SIGMA_PX)
        )  # a wide Gaussian costs less on a smaller picture
        size = (max(1, columns // fold), max(1, rows // fold))
        small = cv2.resize(plane, size, interpolation=cv2.INTER_AREA)
        soft = cv2.GaussianBlur(small, (0, 0), share * columns / fold)
        large: Planes = cv2.resize(soft, (columns, rows), interpolation=cv2.INTER_LINEAR)
        return large

    return lambda picture: _each_plane(picture, blur)


def covered(share: float) -> Treatment:
    """Lay a dark board with a faint grain over `share` of the picture, from the left: the rest stays in sight."""
    rng = np.random.default_rng(_SEED)

    def treat(picture: Planes) -> Planes:
        height, width = _height(picture), picture.shape[1]
        out = picture.copy()
        for plane, value in zip(_planes(out), (_BOARD_LUMA, GREY, GREY), strict=True):
            plane[:, : round(share * plane.shape[1])] = value
        board = out[:height, : round(share * width)]
        board[:] = _board(board.shape[0], board.shape[1])
        return out

    def _board(rows: int, columns: int) -> Planes:
        key = (rows, columns)
        if key not in boards:
            grain = rng.integers(
                -9, 10, (rows // _BOARD_GRAIN_PX + 1, columns // _BOARD_GRAIN_PX + 1), dtype=np.int16
            )
            smooth = cv2.resize(grain, (columns, rows), interpolation=cv2.INTER_LINEAR)
            boards.clear()
            boards[key] = (smooth + _BOARD_LUMA).astype(np.uint8)
        return boards[key]

    boards: dict[tuple[int, int], Planes] = {}
    return treat


def moved(right: float, down: float) -> Treatment:
    """Shift the view by shares of its width and height; what comes into sight is the mirrored border."""

    def treat(picture: Planes) -> Planes:
        def shift(plane: Planes) -> Planes:
            rows, columns = plane.shape
            matrix = np.array(((1, 0, round(right * columns)), (0, 1, round(down * rows))), np.float32)
            flags = {"flags": cv2.INTER_NEAREST, "borderMode": cv2.BORDER_REFLECT}
            shifted: Planes = cv2.warpAffine(plane, matrix, (columns, rows), **flags)
            return shifted

        return _each_plane(picture, shift)

    return treat


def elsewhere(picture: Planes) -> Planes:
    """Return another part of the scene: the lower right quarter, mirrored and enlarged, as a dome that has turned away."""

    def turn(plane: Planes) -> Planes:
        rows, columns = plane.shape
        part = plane[rows // 2 :, columns // 2 :][:, ::-1]
        turned: Planes = cv2.resize(part, (columns, rows), interpolation=cv2.INTER_LINEAR)
        return turned

    return _each_plane(picture, turn)


def _height(picture: Planes) -> int:
    return int(picture.shape[0]) * 2 // 3


def _planes(picture: Planes) -> tuple[Planes, Planes, Planes]:
    """Return views of the luma and the two chroma planes of a contiguous picture."""
    height, width = _height(picture), picture.shape[1]
    chroma = picture[height:].reshape(2, height // 2, width // 2)
    return picture[:height], chroma[0], chroma[1]


def _each_plane(picture: Planes, change: Callable[[Planes], Planes]) -> Planes:
    out = np.empty_like(picture)
    for source, target in zip(_planes(np.ascontiguousarray(picture)), _planes(out), strict=True):
        target[:] = change(source)
    return out
