# SPDX-License-Identifier: AGPL-3.0-or-later
"""When to try again. Pure: chance is passed in, and whoever waits does the waiting."""

import random

_HEALTHY_S = 60.0
_REFUSED_FACTOR = 10.0


class Backoff:
    """Exponential, jittered waits between tries of one camera.

    The jitter (half to the whole of the wait) keeps a hundred cameras behind one switch from coming back at once.
    """

    def __init__(self, rng: random.Random, base_s: float = 1.0, cap_s: float = 60.0) -> None:
        self._rng, self._base_s, self._cap_s = rng, base_s, cap_s
        self._tries = 0

    def wait_s(self, *, refused: bool = False) -> float:
        """Return how long to wait after a failure, seconds.

        `refused`: the camera refuses user or password. It is asked ten times as rarely: many lock the account after
        a few tries.
        """
        factor = _REFUSED_FACTOR if refused else 1.0
        longest = min(self._base_s * 2.0 ** min(self._tries, 30), self._cap_s) * factor
        self._tries += 1
        return longest * (0.5 + self._rng.random() / 2)

    def ran(self, healthy_s: float) -> None:
        """Say for how long the stream was good before it failed; 60 s are health, and begin anew."""
        if healthy_s >= _HEALTHY_S:
            self._tries = 0
