# SPDX-License-Identifier: AGPL-3.0-or-later
"""In which order cameras take turns: who waits, who is due, who is late. It knows no budget and makes no promises.

A visit that is due goes by its promise (earliest deadline first). Every step costs O(log n).
"""

import heapq
from collections.abc import Callable, Iterable

from ingest.turns import Standing, Turn

_STALE = 64


class _Line:
    """Cameras by a time. An entry is stale, and skipped, once its camera has moved on to another standing."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, int, Turn]] = []

    def put(self, at_s: float, turn: Turn) -> None:
        heapq.heappush(self._heap, (at_s, turn.order, turn.version, turn))

    def head(self) -> tuple[float, Turn] | None:
        """Return the earliest, or None."""
        heap = self._heap
        while heap:
            at_s, _, version, turn = heap[0]
            if version == turn.version:
                return at_s, turn
            heapq.heappop(heap)
        return None

    def pop(self) -> None:
        """Take away what `head` returned."""
        heapq.heappop(self._heap)

    def tidy(self, cameras: int) -> None:
        """Drop stale entries where there are more of them than cameras."""
        if len(self._heap) > 2 * cameras + _STALE:
            self._heap = [entry for entry in self._heap if entry[2] == entry[3].version]
            heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)


class Round:
    """Who comes next.

    Args:
        session_free: tells whether a recorder has a session left.
    """

    def __init__(self, session_free: Callable[[str], bool]) -> None:
        self._session_free = session_free
        self._waiting, self._due = _Line(), _Line()
        self._held_up: dict[str, _Line] = {}  # due, but their recorder has no session left
        self._promises = _Line()  # of those who wait or are due
        self._visited = _Line()  # promises of those who are being visited

    def wait(self, turn: Turn, due_s: float) -> None:
        """Let a camera wait until `due_s`; `turn.by_s` is what it was promised."""
        turn.standing = Standing.WAITING
        self.renew(turn, due_s)

    def call(self, now_s: float) -> None:
        """Make those due whose time has come."""
        while (head := self._waiting.head()) is not None and head[0] <= now_s:
            self._waiting.pop()
            head[1].standing = Standing.DUE
            self._due.put(head[1].by_s, head[1])

    def next(self) -> Turn | None:
        """Return who is due and has the earliest promise, or None. It stays where it is until `begin`."""
        while (head := self._due.head()) is not None:
            recorder = head[1].watched.recorder
            if self._session_free(recorder):
                return head[1]
            self._due.pop()
            self._held_up.setdefault(recorder, _Line()).put(head[0], head[1])
        return None

    def begin(self, turn: Turn) -> None:
        """Take out the camera that `next` returned: it is visited now."""
        self._due.pop()
        turn.version += 1
        turn.standing = Standing.VISITED
        self._visited.put(turn.by_s, turn)

    def leave(self, turn: Turn, standing: Standing) -> None:
        """Take a camera out, wherever it is."""
        was_due = turn.standing is Standing.DUE
        turn.version += 1
        turn.standing = standing
        if was_due:
            self.let_in(turn.watched.recorder)

    def let_in(self, recorder: str) -> None:
        """Say that a session of `recorder` has become free: the first that it held up may go."""
        line = self._held_up.get(recorder)
        if line is None:
            return
        head = line.head()
        if head is not None:
            line.pop()
            self._due.put(head[0], head[1])
        if not line:
            del self._held_up[recorder]

    def held_up(self, turn: Turn) -> bool:
        """Tell whether it is for its recorder that a camera which is due cannot be visited."""
        return turn.standing is Standing.DUE and not self._session_free(turn.watched.recorder)

    def late(self, now_s: float, visit_s: float) -> Turn | None:
        """Return a camera whose promise leaves no more than `visit_s`, and which is not being visited."""
        head = self._promises.head()
        return head[1] if head is not None and head[0] - visit_s <= now_s else None

    def overrun(self, now_s: float) -> Turn | None:
        """Return a camera whose visit goes on although it was promised to be over by now."""
        head = self._visited.head()
        return head[1] if head is not None and head[0] <= now_s else None

    def next_event_s(self, visit_s: float) -> float:
        """Return when the next one becomes due, or late if it is not begun `visit_s` before its promise."""
        heads = ((self._waiting.head(), 0.0), (self._promises.head(), visit_s), (self._visited.head(), 0.0))
        return min((head[0] - ahead_s for head, ahead_s in heads if head is not None), default=float("inf"))

    def renew(self, turn: Turn, due_s: float) -> None:
        """Take note that a camera's promise has changed; it is due at `due_s` if it waits."""
        turn.version += 1
        self._place(turn, due_s)

    def reorder(self, turns: Iterable[Turn], due_s: Callable[[Turn], float]) -> None:
        """Build everything anew, after promises or the times of those who wait have changed. O(n)."""
        self._waiting, self._due, self._promises, self._visited = _Line(), _Line(), _Line(), _Line()
        self._held_up = {}
        for turn in turns:
            self._place(turn, due_s(turn) if turn.standing is Standing.WAITING else 0.0)

    def _place(self, turn: Turn, due_s: float) -> None:
        if turn.standing is Standing.WAITING:
            self._waiting.put(due_s, turn)
            self._promises.put(turn.by_s, turn)
        elif turn.standing is Standing.DUE:
            self._due.put(turn.by_s, turn)
            self._promises.put(turn.by_s, turn)
        elif turn.standing is Standing.VISITED:
            self._visited.put(turn.by_s, turn)

    def tidy(self, cameras: int) -> None:
        """Keep what is stored in proportion to the number of cameras. O(n), to be called now and then."""
        for line in (self._waiting, self._due, self._promises, self._visited, *self._held_up.values()):
            line.tidy(cameras)
