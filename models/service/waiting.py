# SPDX-License-Identifier: AGPL-3.0-or-later
"""The looks that wait for a device, and whose turn it is. Pure rules over an injected time: no threads, no clock, no lock.

One slot per camera: the newest look wins. The camera that was computed least recently comes first; a look that is shed
does not count as computed. So under overload every camera gets the same number of looks, however often each offers one
and however seldom: a bursty camera only replaces its own, and one whose looks went stale is next with a fresh one.
"""

import heapq
from collections.abc import Hashable
from dataclasses import dataclass, field

from gridwatch.core.detections import Part
from gridwatch.core.look import Look

_EPSILON = 1e-9


@dataclass(frozen=True, slots=True)
class Rules:
    """What waits how long.

    Attributes:
        staleness_s: a look that cannot be answered before it is so old is not computed. One that was already late when
            it came (its stream was held up, its camera's clock falls behind) gets half of that here all the same:
            what is shed is shed because of overload.
        batch_deadline_s: a batch that is not full is computed when its first look has waited so long.
        urgent_share: of the turns, at most, for cameras with an open incident while others wait, 0 to 1.
    """

    staleness_s: float = 5.0
    batch_deadline_s: float = 0.02
    urgent_share: float = 0.5

    def expires_mono_s(self, look: Look, now_s: float) -> float:
        """Return until when a look that comes now may be answered."""
        return max(look.at_mono_s + self.staleness_s, now_s + self.staleness_s / 2)


@dataclass(frozen=True, slots=True)
class Request:
    """A look and what is asked of it.

    Attributes:
        group: what must be equal in a batch.
        urgent: its camera has an open incident.
        expires_mono_s: after that it is stale.
    """

    look: Look
    parts: frozenset[Part]
    group: Hashable
    urgent: bool
    expires_mono_s: float


@dataclass(frozen=True, slots=True)
class Turn:
    """What was taken out; all its cameras are in work until `done`. `stale` is to be answered, not computed."""

    fresh: tuple[Request, ...] = ()
    stale: tuple[Request, ...] = ()


@dataclass(slots=True, eq=False)
class _Slot:
    """A camera's place in line."""

    request: Request
    place: tuple[int, int]  # when its camera was last computed, then when it came
    since_s: float  # when it could first have been taken
    in_line: bool = False


@dataclass(slots=True)
class _Line:
    """The slots of one group, by urgency and place. A slot that left stays until it comes to the top, or is swept."""

    heaps: tuple[list[tuple[tuple[int, int], _Slot]], ...] = field(default_factory=lambda: ([], []))
    waiting: int = 0

    def add(self, slot: _Slot) -> None:
        slot.in_line, self.waiting = True, self.waiting + 1
        self.push(slot)

    def push(self, slot: _Slot) -> None:
        heap = self.heaps[slot.request.urgent]
        if len(heap) > 2 * self.waiting + 8:
            heap[:] = [entry for entry in heap if entry[1].in_line]
            heapq.heapify(heap)
        heapq.heappush(heap, (slot.place, slot))

    def remove(self, slot: _Slot) -> None:
        slot.in_line, self.waiting = False, self.waiting - 1

    def first(self, *, urgent: bool) -> _Slot | None:
        heap = self.heaps[urgent]
        while heap and not (heap[0][1].in_line and heap[0][1].request.urgent is urgent):
            heapq.heappop(heap)
        return heap[0][1] if heap else None

    def due_s(self, batch: int, deadline_s: float) -> float:
        """Return when the group is to be computed: at once when a batch is full."""
        if self.waiting >= batch:
            return float("-inf")
        slots = (slot for heap in self.heaps for _, slot in heap if slot.in_line)
        return min(slot.since_s for slot in slots) + deadline_s


class WaitingLooks:
    """Who waits, who is in work, who is next. Bounded by the number of cameras; not for several threads at once."""

    def __init__(self, rules: Rules | None = None) -> None:
        self.rules = rules or Rules()
        self.replaced = 0
        self._slots: dict[str, _Slot] = {}
        self._lines: dict[Hashable, _Line] = {}
        self._in_work: set[str] = set()
        self._computed: dict[str, int] = {}  # camera: number of its last turn
        self._turn = self._came = 0
        self._credit = self._full_credit

    def __len__(self) -> int:
        return len(self._slots)

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits and nothing is in work."""
        return not self._slots and not self._in_work

    def put(self, request: Request, now_s: float) -> bool:
        """Let a look wait; return True if it replaced an older one of its camera, whose place in line it takes."""
        camera_id = request.look.camera_id
        slot = self._slots.get(camera_id)
        if slot is None:
            self._enter(_Slot(request, self._place(camera_id), now_s))
            return False
        self.replaced += 1
        before, slot.request = slot.request, request
        if slot.in_line and (before.group != request.group or before.urgent != request.urgent):
            slot.request = before
            self._leave(slot)
            self._enter(_Slot(request, self._place(camera_id), slot.since_s))
        return True

    def take(self, now_s: float, *, batch: int = 1, lead_s: float = 0.0) -> Turn:
        """Take whose turn it is: up to `batch` looks of one group, once that is full or due; and what is found stale.

        Args:
            now_s: monotonic seconds.
            batch: the most looks that are computed at once.
            lead_s: how long computing will take: what would be stale by then is stale now.
        """
        due = [line for line in self._lines.values() if self._due_s(line, batch) <= now_s + _EPSILON]
        if _first(due, urgent=True) is None:
            self._credit = self._full_credit
        found = self._choose(due)
        fresh: list[Request] = []
        stale: list[Request] = []
        while found is not None:
            line, slot = found
            self._leave(slot)
            self._in_work.add(slot.request.look.camera_id)
            if now_s + lead_s > slot.request.expires_mono_s:
                stale.append(slot.request)
            else:
                self._turn += 1
                self._computed[slot.request.look.camera_id] = self._turn
                fresh.append(slot.request)
            found = self._choose([line]) if len(fresh) < batch else None
        return Turn(tuple(fresh), tuple(stale))

    def expire(self, now_s: float) -> tuple[Request, ...]:
        """Take out every look that went stale while it waited."""
        gone = [slot for slot in self._slots.values() if slot.in_line and now_s > slot.request.expires_mono_s]
        for slot in gone:
            self._leave(slot)
            self._in_work.add(slot.request.look.camera_id)
        return tuple(slot.request for slot in gone)

    def done(self, camera_id: str, now_s: float) -> None:
        """Say that the look taken of a camera is dealt with; its next one may be taken."""
        self._in_work.discard(camera_id)
        if (slot := self._slots.get(camera_id)) is not None and not slot.in_line:
            slot.place, slot.since_s = self._place(camera_id), now_s
            self._enter(slot)

    def drop(self, camera_id: str) -> None:
        """Forget a camera."""
        if (slot := self._slots.pop(camera_id, None)) is not None and slot.in_line:
            self._leave(slot)
        self._computed.pop(camera_id, None)

    def clear(self) -> None:
        """Forget every look that waits."""
        self._slots.clear()
        self._lines.clear()

    def next_due_s(self, batch: int) -> float | None:
        """Return when `take` will find something: -inf for now; None while nothing waits that could be taken."""
        return min((self._due_s(line, batch) for line in self._lines.values()), default=None)

    def _enter(self, slot: _Slot) -> None:
        camera_id = slot.request.look.camera_id
        self._slots[camera_id] = slot
        if camera_id not in self._in_work:
            self._lines.setdefault(slot.request.group, _Line()).add(slot)

    def _leave(self, slot: _Slot) -> None:
        self._slots.pop(slot.request.look.camera_id, None)
        line = self._lines[slot.request.group]
        line.remove(slot)
        if not line.waiting:
            del self._lines[slot.request.group]

    def _due_s(self, line: _Line, batch: int) -> float:
        return line.due_s(batch, self.rules.batch_deadline_s)

    def _choose(self, lines: list[_Line]) -> tuple[_Line, _Slot] | None:
        """Return whose turn it is among some lines."""
        urgent, ordinary = _first(lines, urgent=True), _first(lines, urgent=False)
        if urgent is None or ordinary is None:
            return urgent or ordinary
        self._credit += self.rules.urgent_share
        if self._credit < 1.0 - _EPSILON:
            return ordinary
        self._credit -= 1.0
        return urgent

    @property
    def _full_credit(self) -> float:
        return 1.0 - self.rules.urgent_share  # so that an open incident is first when both begin to wait

    def _place(self, camera_id: str) -> tuple[int, int]:
        self._came += 1
        return self._computed.get(camera_id, 0), self._came


def _first(lines: list[_Line], *, urgent: bool) -> tuple[_Line, _Slot] | None:
    found = ((line, slot) for line in lines if (slot := line.first(urgent=urgent)) is not None)
    return min(found, key=lambda pair: pair[1].place, default=None)
