# SPDX-License-Identifier: AGPL-3.0-or-later
"""When to try again. Pure: chance is passed in, and whoever waits does the waiting."""

import random

_HEALTHY_S = 60.0
_REFUSED_CAP_S = 1800.0
_MOST_DOUBLINGS = 30


class Backoff:
    """Exponential, jittered waits between tries of one camera.

    The jitter (half to the whole of the wait) keeps a hundred cameras behind one switch from coming back at once.

    Args:
        base_s, cap_s: the longest first wait, and the longest of all. The cap leaves room for a try that is just
            timing out (6 s) and for the next one: a camera that is back is asked to play within 30 s.
        refused_s: the *shortest* wait after user or password were refused, doubled up to half an hour: cameras lock an
            account after a few tries, for minutes.
    """

    def __init__(
        self, rng: random.Random, base_s: float = 1.0, cap_s: float = 20.0, refused_s: float = 300.0
    ) -> None:
        self._rng, self._base_s, self._cap_s, self._refused_s = rng, base_s, cap_s, refused_s
        self._tries = self._refusals = 0

    def wait_s(self, *, refused: bool = False) -> float:
        """Return how long to wait after a failure, seconds; `refused`: user or password were."""
        if refused:
            shortest = _doubled(self._refused_s, _REFUSED_CAP_S, self._refusals)
            self._refusals += 1
            return shortest * (1.0 + self._rng.random() / 4)
        longest = _doubled(self._base_s, self._cap_s, self._tries)
        self._tries += 1
        return longest * (0.5 + self._rng.random() / 2)

    def opened(self) -> None:
        """Say that the camera took us in: earlier refusals are forgotten."""
        self._refusals = 0

    def ran(self, healthy_s: float) -> None:
        """Say for how long the stream was good before it failed; 60 s are health, and begin anew."""
        if healthy_s >= _HEALTHY_S:
            self._tries = 0


def _doubled(base_s: float, cap_s: float, times: int) -> float:
    return min(base_s * 2.0 ** min(times, _MOST_DOUBLINGS), cap_s)
