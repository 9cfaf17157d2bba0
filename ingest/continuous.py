# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which of the cameras that take turns are watched without a break for a while, and who waits for such a place.

Cameras with an open incident come first, then those that looked suspicious, each in the order in which they asked.
Nobody keeps a place for ever while others wait. It starts and stops nothing.
"""

from itertools import islice

from ingest.budget import Policy, Spending
from ingest.turns import Standing, Turn

_SCAN = 16  # of a line; who is behind those waits until one of them has got its place


class ContinuousWatch:
    """The places for continuous watching: a bounded share of the budget."""

    def __init__(self, spending: Spending, policy: Policy) -> None:
        self._spending, self._policy = spending, policy
        self._watched: dict[str, Turn] = {}  # longest first
        self._urgent: dict[str, Turn] = {}
        self._suspicious: dict[str, Turn] = {}
        self._shown: frozenset[str] | None = frozenset()
        self.pressed = False  # somebody waits for bandwidth that visits hold: none is to be begun

    @property
    def cameras(self) -> frozenset[str]:
        """Who is watched without a break."""
        if self._shown is None:
            self._shown = frozenset(self._watched)
        return self._shown

    def ask(self, turn: Turn) -> None:
        """Put a camera into the line; it is visited sooner until it has a place. Some can never have one."""
        if turn.standing is Standing.CONTINUOUS:
            return
        turn.eager = True
        camera_id = turn.watched.camera_id
        if not self._spending.could_watch(turn.watched):
            return
        if turn.urgent:
            self._suspicious.pop(camera_id, None)
            self._urgent[camera_id] = turn
        else:
            self._suspicious[camera_id] = turn

    def withdraw(self, turn: Turn) -> None:
        """Take a camera out of the line; nothing happens if it is not there."""
        turn.eager = False
        self._urgent.pop(turn.watched.camera_id, None)
        self._suspicious.pop(turn.watched.camera_id, None)

    def sift(self) -> None:
        """Take those out of the line who can have no place any more: budget or cameras have changed."""
        for line in (self._urgent, self._suspicious):
            for turn in [turn for turn in line.values() if not self._spending.could_watch(turn.watched)]:
                del line[turn.watched.camera_id]

    def too_many(self) -> Turn | None:
        """Return a camera that has to leave because all together have more than their share, or None.

        The one that came last; one with an open incident only where no other would make room.
        """
        leaving = [turn for turn in reversed(self._watched.values()) if self._spending.overdraws(turn)]
        return min(leaving, key=lambda turn: turn.urgent, default=None)

    def to_leave(self, now_s: float) -> Turn | None:
        """Return a camera that has had its turn and whose place another waits for, or None."""
        for line in (self._urgent, self._suspicious):
            for waits in islice(line.values(), _SCAN):
                if not self._spending.has_share(waits):
                    return self._overdue(now_s, line is self._urgent, None)
                if not self._spending.has_session_share(waits.watched.recorder):
                    leaves = self._overdue(now_s, line is self._urgent, waits.watched.recorder)
                    if leaves is not None:
                        return leaves
        return None

    def next_in(self, now_s: float) -> Turn | None:
        """Return the next camera for which there is room, its place taken; None where there is none."""
        self.pressed = False
        spending = self._spending
        for line in (self._urgent, self._suspicious):
            for turn in islice(line.values(), _SCAN):
                recorder = turn.watched.recorder
                if turn.standing is Standing.VISITED or not spending.has_share(turn):
                    continue
                if not spending.has_session_share(recorder) or not spending.session_free(recorder):
                    continue
                if spending.slot_free and spending.mbit_free(turn):
                    return self._enter(turn, now_s)
                self.pressed = True
        return None

    def _overdue(self, now_s: float, urgent: bool, recorder: str | None) -> Turn | None:
        for turn in self._watched.values():
            if now_s - turn.since_s < self._policy.turn_s:
                return None
            if (urgent or not turn.urgent) and recorder in {None, turn.watched.recorder}:
                return turn
        return None

    def leave(self, turn: Turn, now_s: float) -> None:
        """Give a camera's place back."""
        del self._watched[turn.watched.camera_id]
        self._spending.end_continuous(turn, now_s)
        self._shown = None

    def _enter(self, turn: Turn, now_s: float) -> Turn:
        self.withdraw(turn)
        self._watched[turn.watched.camera_id] = turn
        self._spending.begin_continuous(turn, now_s)
        self._shown = None
        return turn
