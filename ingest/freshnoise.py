# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tells a frozen picture by its noise: a sensor makes new noise for each picture, a frozen one carries the same for ever.

For encoders that code the same picture a little differently each time, so that nothing comes back exactly (`recurrence`
finds those where it does). What a key frame has beside the slow background is noise. Live, it has nothing to do with that
of the key frame before: measured correlation -0.1 to 0.05, at 4 Mbit/s and at 250 kbit/s. Frozen, they are alike, 0.2 to 0.9 each
and 0.4 on average, while the difference between two pictures shrinks, because only the encoder makes it, and the
whole hardly grows, because nothing changed in the scene. All three must hold, in most parts of the picture, for half a minute:
a cloud makes residues alike too, but it does not take noise away.

It is calibrated by the camera itself and judges none whose noise is not seen to be new each time: at starved bit rates the
encoder takes noise away, and then a frozen picture of this kind is not told from a quiet one.
"""

import statistics
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

STRIP = 60, 320
_ROWS = slice(60, 120)  # the middle of the picture says as much, at a third of the cost
_BLOCKS = (16, 3)
_NEAR = (5, 5)  # coarser things than noise are left out
MEMORY = 64
_PICTURES = 16  # before anything is judged
_SETTLED = 8  # pictures in a background that is worth comparing with
_MEASURED_EVERY, _MEASURED = 8, 4
_FOLLOW_SHARE = 0.1
_LAG = 8  # pictures that wait before they enter the background: it must not have learned what it is to tell
_SMALLER, _LARGER = 0.88, 1.4
_CLEARLY = 0.75
_ALIKE, _ALIKE_ONE, _NEW = 0.25, 0.12, 0.1
_LEAST_STEP = 0.1  # of luma: less is no noise
_SCENE_CHANGED = 3.0  # times the usual difference, in most of the picture
_FROZEN_S, _EVIDENCE, _FRESH = 30.0, 8, 2
_UNDECIDED = 40  # pictures that are alike and not enough so: begin anew
_TINY = 1e-3

_Luma = NDArray[np.float32]
_Strip = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Still:
    """A frozen picture, by which it is known again after a restart: a live one never has its noise.

    Attributes:
        background: (60, 320) float32, what was slow before it froze.
        strip: (60, 320) uint8, the picture.
    """

    background: _Luma
    strip: _Strip


@dataclass(frozen=True, slots=True, eq=False)
class Noise:
    """What a camera's noise is like, as it outlasts a restart.

    Attributes:
        steps: by how much pictures differed, steps of luma; the last 64 at most.
        alike, sizes: how alike the noise of two pictures was, and how large; the last 64 at most.
        still: the picture that it was frozen at; None where it was not.
    """

    steps: tuple[float, ...] = ()
    alike: tuple[float, ...] = ()
    sizes: tuple[float, ...] = ()
    still: Still | None = None

    @property
    def knows_steps(self) -> bool:
        """Whether there are enough to tell what is less."""
        return len(self.steps) >= _PICTURES

    @property
    def knows_alike(self) -> bool:
        """Whether there are enough to tell whether noise is new each time."""
        return len(self.alike) >= _MEASURED


class FreshNoise:
    """Whether the pictures of one camera carry new noise.

    Key frames only, and of one view: of a camera that turns, what is new in the picture is no noise.

    Attributes:
        frozen: they carry the same, for 30 s and eight pictures; two others take it back.
        began_mono_s: when a picture last came with noise of its own; None before the first.

    Args:
        noise: what `kept` of an earlier one returned.
    """

    def __init__(self, noise: Noise | None = None) -> None:
        noise = noise or Noise()
        self.frozen = False
        self.began_mono_s: float | None = None
        self._last: _Strip | None = None
        self._background: _Luma | None = None
        self._waiting: deque[_Strip] = deque()
        self._settled = self._seen = self._fresh = self._changes = 0
        self._recent: deque[float] = deque(maxlen=_LAG)
        self._steps: deque[float] = deque(noise.steps, maxlen=MEMORY)
        self._alike: deque[float] = deque(noise.alike, maxlen=MEMORY)
        self._sizes: deque[float] = deque(noise.sizes, maxlen=MEMORY)
        self._still = noise.still  # from before a restart, until it is certain whether it is still shown
        self._run: list[tuple[float, float, float]] = []  # (step, alike, size) of pictures with old noise

    def see(self, small: NDArray[np.uint8], at_mono_s: float, *, repeated: bool = False) -> None:
        """Take the next key frame, (180, 320) uint8 luma.

        `repeated`: it was there before, exactly: it says nothing of what is usual.
        """
        strip = small[_ROWS].copy()
        if self._still is not None:
            self._see_again(self._still, strip, at_mono_s)
            return
        last, background, self._last = self._last, self._background, strip
        if last is None or background is None:
            self._begin(strip, at_mono_s)
            return
        step = _middle(_blocks(cv2.absdiff(strip, last).astype(np.float32)))
        if step > _SCENE_CHANGED * _median(self._steps, step) + 1.0:
            self._begin(strip, at_mono_s)  # another light, another view: a new background
            self._changes += 1
            if self._changes >= _SETTLED:
                self._steps.clear()  # no change: by so much its pictures differ now
            return
        self._changes = 0
        self._recent.append(step)
        if repeated:
            return
        if self._is_suspicious():
            alike, size = _compared(last, strip, background)
            if alike >= _ALIKE_ONE:
                self._old((step, alike, size), at_mono_s)
                return
            self._fresh += 1
            if self._run and self._fresh < _FRESH:
                return
        self._new(step, at_mono_s)
        self._follow(last, strip, background)

    @property
    def shrunk(self) -> bool:
        """Whether pictures differ by clearly less than is usual: what is played over and over differs as it did."""
        if len(self._steps) < _PICTURES or not self._recent:
            return False
        return statistics.median(self._recent) <= _CLEARLY * _median(self._steps, 0.0)

    def restart(self) -> None:
        """Say that the camera looks at something else: it is judged again when it has settled."""
        self._last = self._background = self._still = None
        self._end_run()

    @property
    def doubtful(self) -> bool:
        """Whether its pictures may be frozen: what is usual cannot be learned from them."""
        return self.frozen or len(self._run) > 0 or self._still is not None

    def kept(self) -> Noise:
        """Return what outlasts a restart: with the picture that it is frozen at, if it is."""
        still = self._still
        if still is None and self.frozen and self._last is not None and self._background is not None:
            still = Still(self._background.copy(), self._last)
        return Noise(tuple(self._steps), tuple(self._alike), tuple(self._sizes), still)

    def _see_again(self, still: Still, strip: _Strip, at_mono_s: float) -> None:
        """Tell whether a picture that was frozen before a restart is shown still."""
        before = still.strip if self._last is None else self._last
        step = _middle(_blocks(cv2.absdiff(strip, before).astype(np.float32)))
        alike, size = _compared(still.strip, strip, still.background)
        self._last = strip
        self._recent.append(step)
        if self.began_mono_s is None:
            self.began_mono_s = at_mono_s
        if alike >= _ALIKE_ONE:
            self._old((step, alike, size), at_mono_s)
            return
        self._fresh += 1
        if self._fresh >= _FRESH:
            self._still = None
            self._begin(strip, at_mono_s)

    def _is_suspicious(self) -> bool:
        """Tell whether pictures differ less than usual, of a camera whose noise is known to be new each time."""
        calibrated = (
            len(self._alike) >= _MEASURED and len(self._steps) >= _PICTURES and self._settled > _SETTLED
        )
        if not calibrated or sorted(self._alike)[len(self._alike) * 3 // 4] > _NEW:
            return False
        usual = _median(self._steps, 0.0)
        return len(self._run) > 0 or (
            usual >= _LEAST_STEP and statistics.fmean(self._recent) <= _SMALLER * usual
        )

    def _old(self, measured: tuple[float, float, float], at_mono_s: float) -> None:
        self._run.append(measured)
        self._fresh = 0
        lasted_s = at_mono_s - (self.began_mono_s if self.began_mono_s is not None else at_mono_s)
        if not self.frozen and len(self._run) >= _EVIDENCE and lasted_s >= _FROZEN_S:
            step, alike, size = (statistics.fmean(values) for values in zip(*self._run, strict=True))
            smaller = step <= _SMALLER * _median(self._steps, 0.0)
            self.frozen = smaller and alike >= _ALIKE and size <= _LARGER * _median(self._sizes, size)
        if len(self._run) > _UNDECIDED:
            if self.frozen:
                del self._run[0]
            else:
                self.restart()

    def _new(self, step: float, at_mono_s: float) -> None:
        self._end_run()
        self.began_mono_s = at_mono_s
        self._steps.append(step)

    def _end_run(self) -> None:
        self.frozen, self._fresh = False, 0
        self._run.clear()

    def _begin(self, strip: _Strip, at_mono_s: float) -> None:
        self._background, self._settled = strip.astype(np.float32), 0
        self._waiting.clear()
        self._end_run()
        self.began_mono_s = at_mono_s

    def _follow(self, last: _Strip, strip: _Strip, background: _Luma) -> None:
        """Let the background follow, at a distance, and measure now and then how alike noise is that is new."""
        self._waiting.append(strip)
        if len(self._waiting) <= _LAG:
            return
        self._settled += 1
        cv2.accumulateWeighted(
            self._waiting.popleft(), background, max(_FOLLOW_SHARE, 1.0 / (self._settled + 1))
        )
        self._seen += 1
        every = _MEASURED_EVERY if len(self._alike) >= _MEASURED else _MEASURED_EVERY // 4
        if self._settled > _SETTLED and self._seen % every == 0:
            alike, size = _compared(last, strip, background)
            self._alike.append(alike)
            self._sizes.append(size)


def _middle(values: _Luma) -> float:
    flat = values.ravel()
    return float(np.partition(flat, flat.size // 2)[flat.size // 2])


def _median(values: deque[float], otherwise: float) -> float:
    return statistics.median(values) if values else otherwise


def _blocks(values: _Luma) -> _Luma:
    mean: _Luma = cv2.resize(values, _BLOCKS, interpolation=cv2.INTER_AREA)
    return mean


def _compared(one: _Strip, other: _Strip, background: _Luma) -> tuple[float, float]:
    """Return how alike the noise of two pictures is (correlation), and how large the second's, in the middlemost block.

    In each block what follows the background's own structure is taken out first: a cloud makes everything a little darker.
    """
    texture = _fine(background)
    first, second = _fine(one - background), _fine(other - background)
    power = _blocks(texture * texture) + _TINY
    gain, other_gain = _blocks(first * texture) / power, _blocks(second * texture) / power
    var = np.maximum(_blocks(first * first) - gain * gain * power, _TINY)
    other_var = np.maximum(_blocks(second * second) - other_gain * other_gain * power, _TINY)
    together = _blocks(first * second) - gain * other_gain * power
    return _middle(together / np.sqrt(var * other_var)), _middle(np.sqrt(other_var))


def _fine(values: _Luma) -> _Luma:
    fine: _Luma = values - cv2.blur(values, _NEAR)
    return fine
