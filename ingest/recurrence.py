# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tells a frozen picture from a quiet one: a sensor has noise, so a picture that comes back exactly was not taken anew.

An encoder that is given the same picture again and again does not code it the same way each time: while it spreads its
bits it wanders between a few strengths, and comes back to each exactly, often twice running (libx264 at constant bit rate
and at constant quality). So each picture is compared with the last eight that differed, in twelve bands, of
which two may change: a clock written into the picture goes on in a frozen one. A clip that is played over and over comes
back too, but never twice running: it is not taken for frozen.

What cannot be told: a generated scene without noise in which nothing moves looks the same as a frozen one. A camera that was
seen to repeat itself while it lived is therefore not judged by this for a long time.
"""

import operator
import zlib
from collections import deque

import numpy as np
from numpy.typing import NDArray

_BANDS, _MAY_CHANGE = 12, 2
_DIFFERENT = 8
_MEMORY = 64
ALIVE_PICTURES = 8
_NOISY = 3  # bands that a camera with noise may share with an earlier picture: a black sky, a burnt-out one
_FROZEN_S, _REPEATS, _ROUNDS = 20.0, 3, 12
_UNPROVEN_S = 300.0
_FRESH = 2  # new pictures in a row: it lives

_Bands = tuple[int, ...]


class Recurrence:
    """Whether the pictures of one camera come back exactly. Key frames only: others repeat by design.

    Attributes:
        frozen: whether they do, for 20 s and three repeats of a camera that has shown noise, 300 s of any other.
        began_mono_s: when a picture last came that was not there before; None before the first.

    Args:
        shared: what `kept` of an earlier one returned.
    """

    def __init__(self, shared: bytes = b"") -> None:
        self.frozen = False
        self.began_mono_s: float | None = None
        self._known: deque[_Bands] = deque(maxlen=_DIFFERENT)
        self._last: _Bands = ()
        self._shared: deque[int] = deque(shared, maxlen=_MEMORY)
        self._repeats = self._running = self._fresh = 0

    def see(self, small: NDArray[np.uint8], at_mono_s: float, *, shrunk: bool = False) -> None:
        """Take the next key frame, (180, 320) uint8 luma.

        `shrunk`: the camera's pictures differ by far less than they usually do. Then an encoder that goes round a few
        strengths, none of them twice running, is told from a clip that is played over and over.
        """
        bands = tuple(zlib.crc32(band.data) for band in np.ascontiguousarray(small).reshape(_BANDS, -1))
        shared = max((_equal(bands, known) for known in self._known), default=0)
        running = len(self._last) > 0 and _is_same(_equal(bands, self._last))
        self._last = bands
        if not _is_same(shared):
            self._known.append(bands)
            self._new(shared, at_mono_s)
            return
        self._repeats, self._fresh = self._repeats + 1, 0
        self._running += running
        lasted_s = at_mono_s - (self.began_mono_s if self.began_mono_s is not None else at_mono_s)
        goes_round = shrunk and self._repeats >= _ROUNDS
        enough = self._repeats >= _REPEATS and (self._running > 0 or goes_round)
        self.frozen = self.frozen or (enough and lasted_s >= (_FROZEN_S if self._noisy else _UNPROVEN_S))

    @property
    def repeated(self) -> bool:
        """Whether the last picture was there before."""
        return self._repeats > 0 and self._fresh == 0

    def kept(self) -> bytes:
        """Return what outlasts a restart: how many bands each of the last 64 new pictures shared with an earlier one."""
        return bytes(self._shared)

    @property
    def _noisy(self) -> bool:
        """Whether the camera has shown noise that never repeats."""
        if len(self._shared) < ALIVE_PICTURES:
            return False
        return sorted(self._shared)[len(self._shared) * 9 // 10] <= _NOISY

    def _new(self, shared: int, at_mono_s: float) -> None:
        self._fresh += 1
        if self._repeats and self._fresh < _FRESH:
            return
        if not self.frozen:  # what repeated itself and lives on is a scene without noise
            self._shared.extend([_BANDS] * min(self._repeats, _MEMORY))
        self.frozen, self.began_mono_s = False, at_mono_s
        self._repeats = self._running = 0
        self._shared.append(shared)


def _is_same(equal_bands: int) -> bool:
    return equal_bands >= _BANDS - _MAY_CHANGE


def _equal(one: _Bands, other: _Bands) -> int:
    return sum(map(operator.eq, one, other))
