# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which of a camera's streams is looked at: the first, unless it cannot be had. Pure."""

_TRIES = 3
_SHORT_S = 10.0
_FIRST_RETRY_S = 60.0
_RAREST_RETRY_S = 3600.0


class StreamChoice:
    """The first stream; after three failures in a row the second, and the first is tried again ever more rarely.

    A camera that is away altogether is asked for both by turns. One second is lost while the first is tried again
    beside a second that is good, so that is done after a minute, two, four and so on, once an hour at last.

    Args:
        streams: how many there are, one or two.

    Attributes:
        which: the one to be read next, 0 or 1.
        away: the second is read in place of the first.
    """

    def __init__(self, streams: int) -> None:
        self._streams = streams
        self.which = 0
        self.away = False
        self._failed = 0
        self._trial = False
        self._retry_s = _FIRST_RETRY_S
        self._retry_mono_s = float("inf")

    def opened(self, now_mono_s: float) -> None:
        """Say that the stream chosen was opened."""
        self.away = self.which == 1
        if self.away:
            self._retry_mono_s = now_mono_s + self._retry_s
            self._retry_s = min(2 * self._retry_s, _RAREST_RETRY_S)

    def failed(self, ran_s: float, *, lasting: bool = False) -> bool:
        """Say that the stream chosen could not be had, or broke after `ran_s`; return whether to go on at once.

        `lasting`: trying again will not help (no such path, refused).
        """
        trial, self._trial = self._trial and ran_s < _SHORT_S, False
        if self.which == 1:
            self.which = 0
            return False
        self._failed = 1 if ran_s >= _SHORT_S else self._failed + 1
        if ran_s >= _FIRST_RETRY_S:
            self._retry_s = _FIRST_RETRY_S
        if self._streams > 1 and (trial or lasting or self._failed >= _TRIES):
            self.which, self._failed = 1, _TRIES
            return trial
        return False

    def is_over(self, now_mono_s: float) -> bool:
        """Tell whether the second stream, which is being read, is to be left to try the first again."""
        if not self.away or now_mono_s < self._retry_mono_s:
            return False
        self.which, self._trial = 0, True
        self._retry_mono_s = float("inf")
        return True
