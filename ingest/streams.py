# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which of a camera's streams is looked at: the first, unless it cannot be had or nothing is seen by it. Pure."""

_TRIES = 3
_SHORT_S = 10.0
_FIRST_RETRY_S = 60.0
_RAREST_RETRY_S = 3600.0
_NEVER = float("inf")


class StreamChoice:
    """The first stream; after three failures in a row the second, and the first is tried again ever more rarely.

    A stream that opens is not yet one that can be used: what counts is for how long pictures were decoded of it.

    A camera that is away altogether is asked for both by turns. A second is lost while the first is tried again beside a
    second that is good, and half a minute where the first opens and brings nothing of use, so that is done after a
    minute, two, four and so on, once an hour at last.

    Args:
        streams: how many there are, one or two.

    Attributes:
        which: the one to be read next, 0 or 1.
        away: the second is read in place of the first.
        retry_mono_s: when the first is to be tried again, while the second is read.
    """

    def __init__(self, streams: int) -> None:
        self._streams = streams
        self.which = 0
        self.away = False
        self.retry_mono_s = _NEVER
        self._failed = 0
        self._trial = False
        self._retry_s = _FIRST_RETRY_S
        self._visited_mono_s: float | None = None

    def opened(self, now_mono_s: float) -> None:
        """Say that the stream chosen was opened."""
        self.away = self.which == 1
        if self.away and self.retry_mono_s == _NEVER:  # visits open it again and again, and put nothing off
            self.retry_mono_s = now_mono_s + self._retry_s
            self._retry_s = min(2 * self._retry_s, _RAREST_RETRY_S)

    def failed(self, good_s: float, *, lasting: bool = False) -> bool:
        """Say that the stream chosen could not be had, or broke or stalled; return whether to go on at once.

        Args:
            good_s: from its opening until the last picture that was decoded of it; 0.0 where there was none.
            lasting: trying again will not help (no such path, refused).
        """
        trial, self._trial = self._trial and good_s < _SHORT_S, False
        self._visited_mono_s = None
        if self.which == 1:
            self.which = 0
            return False
        self._failed = 1 if good_s >= _SHORT_S else self._failed + 1
        if good_s >= _FIRST_RETRY_S:
            self._retry_s = _FIRST_RETRY_S
        if self._streams > 1 and (trial or lasting or self._failed >= _TRIES):
            self.which, self._failed, self.retry_mono_s = 1, _TRIES, _NEVER
            return trial
        return False

    def is_over(self, now_mono_s: float) -> bool:
        """Tell whether the second stream, which is being read, is to be left to try the first again."""
        if not self.away or now_mono_s < self.retry_mono_s:
            return False
        self.which, self._trial = 0, True
        self.retry_mono_s = _NEVER
        return True

    def visiting(self, now_mono_s: float, decoded_mono_s: float | None) -> None:
        """Say that a visit begins: the visit before, of which no picture was decoded since it began, has failed.

        Args:
            decoded_mono_s: when a picture of the camera was last decoded; None: never. A visit is over before its
                pictures are decoded, so what came of it shows at the next.
        """
        before_mono_s = self._visited_mono_s
        if before_mono_s is not None and (decoded_mono_s is None or decoded_mono_s < before_mono_s):
            self.failed(0.0)
        elif before_mono_s is not None and self.which == 0:
            self._failed, self._trial = 0, False
        self.is_over(now_mono_s)
        self._visited_mono_s = now_mono_s
