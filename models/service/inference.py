# SPDX-License-Identifier: AGPL-3.0-or-later
"""Workers around one device: looks in, (look, answer) out, each look at most once. Knows nothing of detectors.

On a CPU one worker a core computes one look at a time; on a GPU two workers share it, so that one prepares and judges
while the other computes, and each takes a batch. A camera is in work once: from the moment its look is taken until its
answer has been dealt with. One more thread watches: looks that go stale, workers that do not come back, the device.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import structlog

from gridwatch.core.clock import Clock
from gridwatch.core.detections import Part, Unknown
from gridwatch.core.look import Look
from models.service.asking import Answer, Network, Outcome, Reply, ask_all
from models.service.counts import ServiceCounts
from models.service.device import Device
from models.service.waiting import Request, Rules, WaitingLooks

log = structlog.get_logger()

GPU_WORKERS = 2
CHECK_EVERY_S = 0.1
WAIT_AT_MOST_S = 1.0
MOST_STUCK = 128  # threads in all that native code may keep
EPSILON = 1e-9
LEAD_SHARE = 0.25  # of the budget that computing is reckoned to take, at most: a slow look must not shed all others for ever

Answered: TypeAlias = Callable[[Look, Answer], None]


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What an operator may choose.

    Attributes:
        threads: workers where the network computes one look at a time, one core each.
        timeout_s: a look that is computed for so long is unknown; after the same time once more its worker is replaced.
        most_replaced: workers that may be stuck in the network in use beside those that work; with one more, the process
            has to be replaced (`longest_in_work_s` grows). Those stuck in networks that were replaced do not count, up to
            `MOST_STUCK`: something else answers.
        rules: see `Rules`.
    """

    threads: int = 1
    timeout_s: float = 10.0
    most_replaced: int = 8
    rules: Rules = field(default_factory=Rules)


class _Worker:
    """A thread that computes; `given_up` once it was replaced."""

    def __init__(self) -> None:
        self.given_up = False


@dataclass(slots=True, eq=False)
class _Work:
    """Looks in work together. Who computes them and who says that they timed out both hold them; the last lets go."""

    requests: Sequence[Request]
    began_s: float
    worker: _Worker | None = None  # None: nothing is computed
    network: Network | None = None
    holders: int = 1
    settled: bool = False  # an answer was decided on; every later one is discarded
    timed_out: bool = False
    missed: int = 0  # time-outs that passed without an answer


@dataclass(slots=True)
class _Estimate:
    """How long computing takes: running mean and mean deviation, as TCP estimates its round trips (RFC 6298)."""

    mean_s: float = 0.0
    deviation_s: float = 0.0

    def add(self, took_s: float) -> None:
        self.deviation_s += (abs(took_s - self.mean_s) - self.deviation_s) / 4
        self.mean_s += (took_s - self.mean_s) / 8

    def most_s(self) -> float:
        return self.mean_s + 4 * self.deviation_s


class InferenceService:
    """One device's looks. Starts nothing until `start`.

    Args:
        device: what computes.
        clock: ages, time-outs and pauses.
        settings: see `ServiceSettings`.
    """

    def __init__(self, device: Device, clock: Clock, settings: ServiceSettings | None = None) -> None:
        self.device, self._clock = device, clock
        self._settings = settings or ServiceSettings()
        self._waiting = WaitingLooks(self._settings.rules)
        self._ready = threading.Condition()  # guards everything below
        self._work: set[_Work] = set()
        self._workers: dict[_Worker, threading.Thread] = {}
        self._stuck: dict[_Worker, Network | None] = {}  # and the network that each is stuck in
        self._answered: Answered = _nobody
        self._stopping = threading.Event()
        self._took = _Estimate()
        self._watcher = threading.Thread(target=self._watch, name="looks-watch", daemon=True)
        self.counts = ServiceCounts()

    def start(self, answered: Answered) -> None:
        """Begin to compute.

        Args:
            answered: called once with every look that was taken, on a thread of the service; for one camera never
                twice at a time. A look that a newer one replaced is not answered.
        """
        self._answered = answered
        self._staff()
        self._watcher.start()

    def stop(self, timeout_s: float = 5.0) -> None:
        """Take no more looks, drop what waits, and wait for the workers."""
        self._stopping.set()
        with self._ready:
            self._waiting.clear()
            self._ready.notify_all()
            threads = list(self._workers.values())
        until_s = time.monotonic() + timeout_s
        for thread in (self._watcher, *threads):
            if thread.ident is not None:
                thread.join(max(0.0, until_s - time.monotonic()))

    def submit(self, look: Look, parts: frozenset[Part], *, urgent: bool = False) -> None:
        """Let a look wait for its turn; it replaces the one of its camera that waits.

        Args:
            look: the newest of its camera.
            parts: what it asks the network for.
            urgent: its camera has an open incident.
        """
        size = self.device.input_size(look.frame.width, look.frame.height)
        with self._ready:
            if self._stopping.is_set():
                return
            now_s = self._clock.mono_s()
            expires_s = self._settings.rules.expires_mono_s(look, now_s)
            self._waiting.put(Request(look, parts, (size, parts), urgent, expires_s), now_s)
            self._ready.notify()

    def forget(self, camera_id: str) -> None:
        """Drop what waits of a camera that is gone; it is not answered."""
        with self._ready:
            self._waiting.drop(camera_id)

    def check(self) -> None:
        """Answer what went stale or timed out, replace workers that do not come back, have a lost device tried again."""
        with self._ready:
            now_s = self._clock.mono_s()
            stale = self._begin(self._waiting.expire(now_s), settled=True)
            hanging = [work for work in self._work if self._missed_again(work, now_s)]
            overdue = [work for work in hanging if not work.settled]
            for work in overdue:
                work.settled = work.timed_out = True
                work.holders += 1
        self._finish(stale, self._shed(stale))
        reason = f"the network gave no answer within {self._settings.timeout_s:g} s"
        networks = {id(work.network): work.network for work in hanging if work.network is not None}
        for network in networks.values():  # one stall is one failure, however many wait for it
            self.device.failed(network, reason, hangs=True)
        for work in overdue:
            self._finish(work, [Reply(Unknown(reason), Outcome.TIMED_OUT)] * len(work.requests))
        self._give_up_stuck()
        self._staff()
        if self.device.is_due():
            threading.Thread(target=self._mend, name="device-open", daemon=True).start()

    def is_idle(self) -> bool:
        """Tell whether nothing waits and nothing is in work."""
        with self._ready:
            return self._waiting.is_idle

    def longest_in_work_s(self) -> float:
        """Return for how long the oldest look has been in work: computed or judged; 0.0 where none is."""
        with self._ready:
            began = min((work.began_s for work in self._work), default=None)
            return 0.0 if began is None else self._clock.mono_s() - began

    @property
    def waiting(self) -> int:
        """Looks that wait for their turn."""
        return len(self._waiting)

    @property
    def replaced(self) -> int:
        """Looks that a newer one of their camera replaced."""
        return self._waiting.replaced

    @property
    def workers(self) -> tuple[int, int]:
        """Workers at work, and workers that were given up and have not come back."""
        return len(self._workers), len(self._stuck)

    # The workers.

    def _run(self, worker: _Worker) -> None:
        while (found := self._next(worker)) is not None:
            stale, fresh = found
            try:
                self._finish(stale, self._shed(stale))
                if fresh.requests:
                    self._compute(fresh)
            except Exception:  # one mistake must not end a thread that serves all cameras
                log.exception("inference_worker_failed")
            finally:
                self._release(fresh)

    def _next(self, worker: _Worker) -> tuple[_Work, _Work] | None:
        """Wait for a turn; return what of it is stale and what is to be computed, or None when the worker is to end."""
        with self._ready:
            while not self._ends(worker):
                network = self.device.network
                batch, now_s = 1 if network is None else network.batch, self._clock.mono_s()
                lead_s = min(self._took.most_s(), LEAD_SHARE * self._settings.rules.staleness_s)
                turn = self._waiting.take(now_s, batch=batch, lead_s=lead_s)
                if turn.fresh or turn.stale:
                    stale = self._begin(turn.stale, settled=True)
                    return stale, self._begin(turn.fresh, worker=worker, network=network)
                due_s = self._waiting.next_due_s(batch)
                self._ready.wait(WAIT_AT_MOST_S if due_s is None else max(0.001, due_s - now_s))
            self._workers.pop(worker, None)
            self._stuck.pop(worker, None)
            return None

    def _ends(self, worker: _Worker) -> bool:
        return self._stopping.is_set() or worker.given_up or len(self._workers) > self._wanted()

    def _compute(self, work: _Work) -> None:
        network, computes = work.network, bool(work.requests[0].parts)
        if network is None:
            replies = [Reply(Unknown(self.device.trouble), Outcome.LOST)] * len(work.requests)
        else:
            frames = [request.look.frame for request in work.requests]
            replies = ask_all(network, frames, work.requests[0].parts)
        with self._ready:
            took_s = self._clock.mono_s() - work.began_s
            self.counts.batches += network is not None
            late, work.settled = work.settled, True
            if late:
                self.counts.discarded += len(work.requests)
            elif computes:
                self._took.add(took_s)
        if network is not None and computes:  # a look that asks for nothing says nothing of the device
            self._report(network, replies, late=late)
        if not late:
            self._deliver(work, replies)

    def _report(self, network: Network, replies: Sequence[Reply], *, late: bool) -> None:
        outcomes = {reply.outcome for reply in replies}
        if Outcome.ANSWERED in outcomes:
            self.device.worked(network)  # late or not: it does not hang
        elif Outcome.DEVICE in outcomes and not late:
            self.device.failed(network, _reason(replies[0]))

    # What happens to work.

    def _begin(
        self,
        requests: Sequence[Request],
        *,
        settled: bool = False,
        worker: _Worker | None = None,
        network: Network | None = None,
    ) -> _Work:
        work = _Work(requests, self._clock.mono_s(), worker, network, settled=settled)
        if requests:
            self._work.add(work)
        return work

    def _shed(self, work: _Work) -> list[Reply]:
        budget_s = self._settings.rules.staleness_s
        why = "the network does not answer" if self.longest_in_work_s() > budget_s else "overload"
        reason = f"{why}: the look waited longer than its {budget_s:g} s"
        return [Reply(Unknown(reason), Outcome.STALE)] * len(work.requests)

    def _finish(self, work: _Work, replies: Sequence[Reply]) -> None:
        self._deliver(work, replies)
        self._release(work)

    def _deliver(self, work: _Work, replies: Sequence[Reply]) -> None:
        for request, reply in zip(work.requests, replies, strict=True):
            try:
                self._answered(request.look, reply.answer)
            except Exception:  # the top of a thread that serves all cameras
                self.counts.failed_deliveries += 1
                log.exception("answer_not_delivered", camera_id=request.look.camera_id)
            with self._ready:
                self.counts.outcomes[reply.outcome] += 1
                if reply.outcome is Outcome.ANSWERED:
                    self.counts.ages.add(self._clock.mono_s() - request.look.at_mono_s)

    def _release(self, work: _Work) -> None:
        with self._ready:
            work.holders -= 1
            if work.holders or work not in self._work:
                return
            self._work.discard(work)
            for request in work.requests:
                self._waiting.done(request.look.camera_id, self._clock.mono_s())
            self._ready.notify_all()

    # The watcher.

    def _watch(self) -> None:
        while not self._stopping.wait(CHECK_EVERY_S):
            try:
                if not self._rests():
                    self.check()
            except Exception:  # it watches over everything else: it must outlive every fault
                log.exception("inference_check_failed")

    def _rests(self) -> bool:
        """Tell whether there is nothing to check: no look anywhere, no worker stuck, no device to be tried again."""
        with self._ready:
            busy = self._work or self._stuck or self.device.hung or not self._waiting.is_idle
        return not busy and not self.device.is_due()

    def _missed_again(self, work: _Work, now_s: float) -> bool:
        """Tell whether one more time-out has passed without an answer."""
        missed = int((now_s - work.began_s) / self._settings.timeout_s + EPSILON)
        if (work.settled and not work.timed_out) or missed <= work.missed:
            return False
        work.missed = missed
        return True

    def _give_up_stuck(self) -> None:
        """Let go of the cameras of workers that did not come back, and of the workers, as far as the bounds allow."""
        with self._ready:
            now_s = self._clock.mono_s()
            for work in [work for work in self._work if self._may_be_left(work, now_s)]:
                if work.worker is None or not self._has_room(work):
                    continue
                work.worker.given_up = True
                self._workers.pop(work.worker, None)
                self._stuck[work.worker] = work.network
                self.counts.workers_replaced += 1
                log.error("inference_worker_replaced", stuck=len(self._stuck))
                self._work.discard(work)
                for request in work.requests:
                    self._waiting.done(request.look.camera_id, now_s)
            self.device.hung = [network for network in self._stuck.values() if network is not None]

    def _may_be_left(self, work: _Work, now_s: float) -> bool:
        """Tell whether a worker is given up: at once when its network was replaced, else after a second time-out."""
        replaced = work.network is not self.device.network
        return work.timed_out and (replaced or now_s - work.began_s >= 2 * self._settings.timeout_s)

    def _has_room(self, work: _Work) -> bool:
        if len(self._stuck) >= MOST_STUCK:
            return False
        beside = sum(network is work.network for network in self._stuck.values())
        return work.network is not self.device.network or beside < self._settings.most_replaced

    def _wanted(self) -> int:
        return self._settings.threads if self.device.batch == 1 else GPU_WORKERS

    def _staff(self) -> None:
        """Start the workers that are missing."""
        with self._ready:
            while len(self._workers) < self._wanted() and not self._stopping.is_set():
                worker = _Worker()
                name = f"look-{len(self._workers)}"
                thread = threading.Thread(target=self._run, args=(worker,), name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError:  # no more threads or memory: the watcher tries again
                    log.exception("inference_worker_not_started")
                    break
                self._workers[worker] = thread
            self._ready.notify_all()

    def _mend(self) -> None:
        self.device.mend()
        self._staff()


def _reason(reply: Reply) -> str:
    return reply.answer.reason if isinstance(reply.answer, Unknown) else ""


def _nobody(_look: Look, _answer: Answer) -> None:
    return None
