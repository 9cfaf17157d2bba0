# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether the network answers a camera's looks, from times alone. It asks nothing."""

_IN_A_ROW = 2


class Answers:
    """Whether looks are answered. Times are monotonic seconds."""

    __slots__ = ("_certain", "_first_mono_s", "_heard_mono_s", "_missed", "_reason")

    def __init__(self) -> None:
        self._heard_mono_s = self._first_mono_s = 0.0
        self.came(0.0)

    def came(self, now_mono_s: float) -> None:
        """Note that a look was answered."""
        self._heard_mono_s, self._missed, self._reason, self._certain = now_mono_s, 0, "", False

    def waited(self, now_mono_s: float) -> None:
        """Note that no picture came until now; answers that were missed before stay missed."""
        self._heard_mono_s = now_mono_s

    def missed(self, now_mono_s: float, reason: str, *, at_once: bool) -> None:
        """Note that a look got no answer."""
        if self._missed == 0 and not self._certain:
            self._first_mono_s = now_mono_s
        self._heard_mono_s, self._missed, self._reason = now_mono_s, self._missed + 1, reason
        self._certain = self._certain or at_once

    def lacking(self, now_mono_s: float, pictured_mono_s: float, bound_s: float) -> tuple[float, str] | None:
        """Return since when answers are lacking, and why; None where nobody can say so yet.

        Args:
            now_mono_s: when it is asked.
            pictured_mono_s: when the last picture came.
            bound_s: so long they may be lacking.
        """
        if not self._certain:
            if self._missed >= _IN_A_ROW:
                self._certain = now_mono_s - self._first_mono_s >= bound_s
            if pictured_mono_s - self._heard_mono_s > bound_s:
                self._certain = True
                if self._missed == 0:
                    self._first_mono_s, self._reason = self._heard_mono_s, "the network does not answer"
        return (self._first_mono_s, self._reason) if self._certain else None
