# SPDX-License-Identifier: AGPL-3.0-or-later
"""Threads that carry out what `Attention` plans: connect, grab, drop. What a visit does is somebody else's (`Visitor`).

One thread asks for plans and hands them out; as many as there are slots visit. A visit that does not come back (a camera
can hold a demuxer inside native code) costs its slot until it does, and nothing else.
"""

import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from queue import SimpleQueue
from typing import Protocol

import structlog

from gridwatch.core.clock import Clock
from gridwatch.core.redact import redact
from ingest.attention import Attention
from ingest.budget import Budget
from ingest.turns import Outcome, Plan, TurnsTaken, Visit, Watched

log = structlog.get_logger()

_LONGEST_SLEEP_S = 1.0
_SHORTEST_SLEEP_S = 0.001
_HUNG_S = 60.0  # past its time, a visit will hardly come back
_LINE_S = 600.0  # nor will those that hold the places for which it has waited so long
_INFINITE = float("inf")


@dataclass(frozen=True, slots=True)
class Brought:
    """What a visit brought: its outcome, and the time from its first picture to its last, seconds."""

    outcome: Outcome
    seen_s: float = 0.0


@dataclass(frozen=True, slots=True)
class VisitsNow:
    """How visits stand.

    Attributes:
        outcomes: visits that are over, by what they brought; one that hung counts as failed.
        missed, restated: promises that were broken, and how often bounds were made longer so that none would be.
        busy, stuck: visits that go on, and those that have not come back; these are not among `busy`.
        promoted: cameras that are watched without a break for a while.
        bounds_s: the revisit bound of each other camera that takes turns, as it is stated now, seconds.
        usual_s: after how long each of them usually becomes due again, as things are now, seconds.
    """

    outcomes: Mapping[Outcome, int]
    missed: int
    restated: int
    busy: int
    stuck: int
    promoted: int
    bounds_s: tuple[float, ...]
    usual_s: tuple[float, ...]


class Visitor(Protocol):
    """What visits need from outside. All may be called from several threads, for one camera never twice at a time."""

    def visit(self, visit: Visit) -> Brought:
        """Connect, take some pictures within `visit.within_s`, and drop the connection."""
        ...

    def promote(self, camera_id: str) -> None:
        """Watch a camera without a break from now on. Must not block."""
        ...

    def demote(self, cameras: Sequence[str]) -> None:
        """Watch these so no more, and return when they are disconnected (soon): their slots are given away then."""
        ...

    def promised(self, camera_id: str, by_mono_s: float) -> None:
        """Take note that its next visit is promised to be over by then; infinity while it is watched without a break.

        Not told after a visit that brought no picture: what an earlier one showed is not lengthened by that. Must not
        block, nor call `Visits`.
        """
        ...


class _Worker:
    """One thread that visits, and what it is at.

    Attributes:
        given_up: its visit was reported as failed already.
        hung_mono_s: from then on its visit is given up.
    """

    __slots__ = ("began_mono_s", "given_up", "hung_mono_s", "thread", "visit")

    def __init__(self, run: Callable[["_Worker"], None], number: int) -> None:
        self.visit: Visit | None = None
        self.began_mono_s = self.hung_mono_s = 0.0
        self.given_up = False
        self.thread = threading.Thread(target=run, args=(self,), name=f"visit-{number}", daemon=True)

    def begin(self, visit: Visit, now_mono_s: float) -> None:
        self.visit, self.began_mono_s = visit, now_mono_s
        self.hung_mono_s = now_mono_s + visit.within_s + _HUNG_S


class Visits:
    """Visits cameras in turn until it is stopped. Its methods may be called from any thread.

    Args:
        attention: plans; from now on only this object may touch it.
        budget: the one that `attention` has.
        visitor: does what a plan says.
        hour: tells the local hour of the day, 0 to 23.

    Attributes:
        stopping: set by `stop`; for visitors that wait or read.
        done, failed: visits that are over, and those of them without a picture.
        mistakes: visits and promotions that ended in an exception that nobody expected.
        abandoned: visits that did not come back in time.
    """

    def __init__(
        self, attention: Attention, budget: Budget, visitor: Visitor, clock: Clock, hour: Callable[[], int]
    ) -> None:
        self._attention, self._budget, self._visitor = attention, budget, visitor
        self._clock, self._hour = clock, hour
        self._lock = threading.Lock()  # around `attention`, the counts and the workers' states
        self._woken = threading.Event()
        self.stopping = threading.Event()
        self._jobs: SimpleQueue[Visit | None] = SimpleQueue()  # as long as there are slots at most
        self._held: frozenset[str] = frozenset()
        self._workers = [_Worker(self._work, number) for number in range(budget.slots)]
        self._steward = threading.Thread(target=self._steer, name="visits", daemon=True)
        self._outcomes: Counter[Outcome] = Counter()
        self.done = self.failed = self.mistakes = self.abandoned = 0

    def start(self) -> None:
        """Begin to visit."""
        for worker in self._workers:
            worker.thread.start()
        self._steward.start()

    def stop(self) -> None:
        """Ask all threads to end; returns at once. What is watched without a break is left to its owner."""
        self.stopping.set()
        self._woken.set()
        for _ in self._workers:
            self._jobs.put(None)

    def join(self, timeout_s: float) -> bool:
        """Wait for the threads, `timeout_s` in all; return whether they have ended."""
        deadline = self._clock.mono_s() + timeout_s
        threads = [self._steward, *(worker.thread for worker in self._workers)]
        for thread in threads:
            thread.join(max(0.0, deadline - self._clock.mono_s()))
        return not any(thread.is_alive() for thread in threads)

    @property
    def stuck(self) -> int:
        """How many visits have not come back; where it equals the slots, nobody is visited any more."""
        with self._lock:
            return sum(worker.given_up for worker in self._workers)

    def add(self, *watched: Watched) -> None:
        """Visit more cameras. Many at once are added in one call, so that bounds are reckoned once.

        Raises:
            ValueError: as `Attention.add`; those before are added.
        """
        with self._lock:
            for item in watched:
                self._attention.add(item, self._clock.mono_s())
        self._woken.set()

    def remove(self, camera_id: str) -> None:
        """Visit a camera no more; one that is watched without a break is demoted. It may still be being visited.

        Raises:
            KeyError: it is not watched.
        """
        with self._lock:
            self._attention.remove(camera_id, self._clock.mono_s())
        self._woken.set()

    def change(self, watched: Watched) -> None:
        """Take over what is said of a camera now.

        Raises:
            KeyError: it is not watched.
            ValueError: as `Attention.change`.
        """
        with self._lock:
            self._attention.change(watched, self._clock.mono_s())
        self._woken.set()

    def promote(self, camera_id: str, *, urgent: bool = True) -> None:
        """Ask that a camera be watched without a break: an incident is open on it, or (not `urgent`) it is suspicious.

        Raises:
            KeyError: it is not watched.
        """
        with self._lock:
            self._attention.promote(camera_id, self._clock.mono_s(), urgent=urgent)
        self._woken.set()

    def demote(self, camera_id: str, *, lost: bool = False) -> None:
        """Say that a camera that is watched without a break has become quiet, or was lost.

        Raises:
            KeyError: it is not watched.
        """
        with self._lock:
            self._attention.demote(camera_id, self._clock.mono_s(), lost=lost)
        self._woken.set()

    def spend(self, budget: Budget) -> None:
        """Keep to another budget from now on, of no more slots than at the start.

        Raises:
            ValueError: as `Attention.spend`.
        """
        with self._lock:
            self._budget = budget
            self._use_slots()
        self._woken.set()

    def in_line(self, camera_id: str, *, waits: bool) -> None:
        """Say that the visit of a camera waits for a place to connect, or does so no more; so long it does not hang."""
        with self._lock:
            for worker in self._workers:
                if worker.visit is not None and worker.visit.camera_id == camera_id:
                    longest_s = _LINE_S if waits else worker.visit.within_s + _HUNG_S
                    worker.hung_mono_s = self._clock.mono_s() + longest_s

    def turns_taken(self, camera_id: str) -> TurnsTaken:
        """Return a camera's coverage since it was added, or since `begin_afresh`.

        Raises:
            KeyError: it is not watched.
        """
        with self._lock:
            return self._attention.turns_taken(camera_id, self._clock.mono_s())

    def now(self, cameras: Iterable[str]) -> VisitsNow:
        """Return how visits stand, and what is stated to `cameras`; those that are not watched are left out."""
        promoted, bounds_s, usual_s = 0, list[float](), list[float]()
        with self._lock:
            attention = self._attention
            for camera_id in cameras:
                with suppress(KeyError):
                    if attention.by_s(camera_id) == _INFINITE:
                        promoted += 1
                        continue
                    bounds_s.append(attention.bound_s(camera_id))
                    usual_s.append(attention.usual_s(camera_id))
            workers = self._workers
            return VisitsNow(
                outcomes={outcome: self._outcomes[outcome] for outcome in Outcome},
                missed=attention.missed,
                restated=attention.restatements,
                busy=sum(worker.visit is not None and not worker.given_up for worker in workers),
                stuck=sum(worker.given_up for worker in workers),
                promoted=promoted,
                bounds_s=tuple(bounds_s),
                usual_s=tuple(usual_s),
            )

    def begin_afresh(self) -> None:
        """Count the coverage of all cameras from now on, as on a new day."""
        with self._lock:
            self._attention.begin_afresh(self._clock.mono_s())

    def _steer(self) -> None:
        while not self.stopping.is_set():
            self._woken.clear()
            sleep_s = _LONGEST_SLEEP_S
            try:
                sleep_s = self._step()
            except Exception:  # noqa: BLE001  the thread's top loop: without it nobody is visited any more
                self._mistaken("visits_mistake")
            self._woken.wait(min(_LONGEST_SLEEP_S, max(_SHORTEST_SLEEP_S, sleep_s)))

    def _step(self) -> float:
        """Carry out one plan; return in how many seconds the next is needed."""
        with self._lock:
            self._give_up_hung()
            self._attention.at_hour(self._hour())
            plan = self._attention.plan(self._clock.mono_s())
            self._tell(plan)
        self._hold(plan.continuous)
        for visit in plan.visit:
            self._jobs.put(visit)
        return plan.again_s - self._clock.mono_s()

    def _tell(self, plan: Plan) -> None:
        for promise in plan.promised:
            self._promise(promise.camera_id, promise.by_s)
        if restated := plan.restated:
            longest_s = max(promise.bound_s for promise in restated)
            log.warning("revisit_bound_restated", cameras=len(restated), longest_s=round(longest_s))

    def _promise(self, camera_id: str, by_s: float) -> None:
        self._attempt("promise_mistake", camera_id, partial(self._visitor.promised, camera_id, by_s))

    def _hold(self, cameras: frozenset[str]) -> None:
        """Promote and demote, so that `cameras` are watched without a break."""
        if leaving := sorted(self._held - cameras):  # together: one that stalls must not hold up the next
            self._attempt("demote_mistake", leaving[0], partial(self._visitor.demote, leaving))
        for camera_id in sorted(cameras - self._held):
            if not self._attempt("promote_mistake", camera_id, partial(self._visitor.promote, camera_id)):
                with self._lock, suppress(KeyError):
                    self._attention.demote(camera_id, self._clock.mono_s(), lost=True)
        self._held = cameras

    def _attempt(self, event: str, camera_id: str, step: Callable[[], object]) -> bool:
        try:
            step()
        except Exception:  # noqa: BLE001  one camera's trouble must not end the thread of all
            self._mistaken(event, camera_id)
            return False
        return True

    def _give_up_hung(self) -> None:
        """Report visits that do not come back as failed, and do without their slots until they do."""
        now_s = self._clock.mono_s()
        for worker in self._workers:
            visit = worker.visit
            if visit is None or worker.given_up or now_s < worker.hung_mono_s:
                continue
            worker.given_up = True
            self.abandoned += 1
            self._report(visit, Brought(Outcome.FAILED), visit.within_s)  # its slot is counted apart
            self._use_slots()
            log.error("visit_hung", camera_id=visit.camera_id)

    def _use_slots(self) -> None:
        stuck = sum(worker.given_up for worker in self._workers)
        budget = replace(self._budget, slots=max(1, self._budget.slots - stuck))
        self._attention.spend(budget, self._clock.mono_s())

    def _work(self, worker: _Worker) -> None:
        while (visit := self._jobs.get()) is not None and not self.stopping.is_set():
            with self._lock:
                worker.begin(visit, self._clock.mono_s())
            brought = self._visit(visit)
            try:
                self._came_back(worker, visit, brought)
            except Exception:  # noqa: BLE001  the thread's top loop: a mistake must not cost a slot for good
                self._mistaken("visit_mistake", visit.camera_id)
            self._woken.set()

    def _came_back(self, worker: _Worker, visit: Visit, brought: Brought) -> None:
        with self._lock:
            worker.visit = None
            if worker.given_up:
                worker.given_up = False
                self._use_slots()
            else:
                self._report(visit, brought, self._clock.mono_s() - worker.began_mono_s)

    def _visit(self, visit: Visit) -> Brought:
        try:
            return self._visitor.visit(visit)
        except Exception:  # noqa: BLE001  the thread's top loop: one camera must not cost a slot for good
            self._mistaken("visit_mistake", visit.camera_id)
            return Brought(Outcome.FAILED)

    def _report(self, visit: Visit, brought: Brought, took_s: float) -> None:
        now_s = self._clock.mono_s()
        self.done += 1
        self.failed += not brought.outcome.saw
        self._outcomes[brought.outcome] += 1
        by_s = self._attention.visited(visit.camera_id, now_s, brought.outcome, took_s, brought.seen_s)
        if by_s is not None and brought.outcome.saw:
            self._promise(visit.camera_id, by_s)

    def _mistaken(self, event: str, camera_id: str = "") -> None:
        # as text: a traceback printed with local variables would show addresses with their passwords
        trace = redact(traceback.format_exc())
        log.error(event, camera_id=camera_id, trace=trace)
        self.mistakes += 1
