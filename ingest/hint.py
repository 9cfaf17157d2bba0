# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tells when what a camera sends between two key frames grows beyond what is usual there. Sizes only: nothing is decoded.

Only a hint to look sooner, and no gate: at a constant quality a near person makes the pictures in between ten times larger,
but most cameras send a constant bit rate, where the encoder spends the same on everything and sizes say nothing. Such a
stream stays below every limit, and the hint stays silent by itself.
"""

import math

from ingest.packets import Packet

_LEARNS_FROM = 30  # pictures of a position, before it says anything
_ROW = 4  # pictures above their limits, less those below: one large picture is an encoder's whim
_LEAST = 1.0  # log2: twice the usual size
_SPREADS = 2.0
_FAST, _SLOW, _SLOWEST = 0.1, 0.01, 0.003  # steps of the quantiles: at first, then, and above the limit
_UPPER = 0.95
_CAUTION_STEP, _CAUTION_MOST = 0.5, 3.0
_POSITIONS = 7


class _Usual:
    """The median and an upper quantile of log2 of sizes, as running estimates."""

    __slots__ = ("median", "seen", "upper")

    def __init__(self) -> None:
        self.median = self.upper = 0.0
        self.seen = 0

    def add(self, value: float, step: float) -> None:
        if not self.seen:
            self.median = self.upper = value
        self.seen += 1
        self.median += step if value > self.median else -step if value < self.median else 0.0
        self.upper += step * (_UPPER if value > self.upper else _UPPER - 1.0)


class SizeHint:
    """Sizes of one camera's pictures between key frames, by their place in the group. One thread at a time.

    It is calibrated twice: by the camera's own quantiles, and by what came of its hints: each that came to nothing makes it
    more cautious, each that proved right less.
    """

    def __init__(self) -> None:
        self._usual = [_Usual() for _ in range(_POSITIONS)]
        self._place = self._row = 0
        self._caution = 0.0

    def take(self, packet: Packet) -> bool:
        """Take the next packet; return whether the last ones are larger than usual."""
        if packet.is_key:
            self._place = self._row = 0
            return False
        self._place += 1
        usual = self._usual[min(self._place.bit_length(), _POSITIONS - 1)]
        value = math.log2(packet.size + 1)
        learnt = usual.seen >= _LEARNS_FROM
        spread = _SPREADS * max(0.0, usual.upper - usual.median)
        above = learnt and value > usual.median + max(_LEAST, spread) + self._caution
        usual.add(value, _SLOWEST if above else _SLOW if learnt else _FAST)
        self._row = min(self._row + 1, _ROW) if above else max(self._row - 1, 0)
        return self._row >= _ROW

    def proved(self, *, right: bool) -> None:
        """Say what came of a hint."""
        step = -_CAUTION_STEP if right else _CAUTION_STEP
        self._caution = min(max(self._caution + step, 0.0), _CAUTION_MOST)
