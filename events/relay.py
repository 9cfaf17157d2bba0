# SPDX-License-Identifier: AGPL-3.0-or-later
"""Carries messages from the journal to the case queue: each once, in order, whatever dies in between.

Remembers nothing that matters: where to go on stands in the queue's mark, and every append compares it. So a relay may
die anywhere and several may run. Messages leave in journal order, so what one source's mark names, and everything before
it, is in the queue: that carries the relay past the messages of a source that was renamed since.
"""

import contextlib
import random
import threading
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum

import structlog

from events.errors import MarkConflict, QueueError, StoreError
from events.messages import CaseMessage
from events.queues.port import FIRST_SEQ, AppendResult, CaseQueue, Mark, Outcome
from events.reading import AlertReader
from gridwatch.core.clock import Clock
from gridwatch.core.redact import redact

log = structlog.get_logger()

PAGE = 100
ROUNDS = 4  # corrections of the place to go on from, within one step
IDLE_S = 0.1
ASK_EVERY_S = 2.0  # for the mark, while nothing is due
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
CONFLICT_PAUSE_S = 30.0


class RelayState(StrEnum):
    """How the relay stands with the queue."""

    STARTING = "starting"
    UP = "up"
    AWAY = "away"  # queue or store does not answer; the backlog grows
    CONFLICT = "conflict"  # nothing is sent until somebody resolves it


class Relay:
    """Sends what is due. `step` and `run` are for one thread; `backlog`, `state` and `problem` for any."""

    def __init__(self, reader: AlertReader, queue: CaseQueue, clock: Clock) -> None:
        self._reader, self._queue, self._clock = reader, queue, clock
        self._at: int | None = None  # row up to which the queue has everything; None: ask the mark
        self._asked_mono_s = 0.0
        self._source = ""  # of the message walked last
        self._last = FIRST_SEQ  # where the mark of `_source` stands
        self._known = FIRST_SEQ  # the same as `_at` when it was last known
        self._waiting: tuple[int, datetime | None] = (0, None)
        self._random = random.Random()  # noqa: S311  spreads retries; no secret
        self.state = RelayState.STARTING
        self.problem = ""

    def step(self) -> int:
        """Send what is due now, at most one page; return how many messages were appended.

        Raises:
            QueueError: the queue does not answer.
            StoreError: the store does not answer.
            MarkConflict: the queue's mark contradicts this journal; nothing more was sent.
        """
        try:
            sent = 0
            for _ in range(ROUNDS):
                at = self._place()
                appended, corrected = self._send(self._reader.messages_after(at, PAGE))
                sent += appended
                if not corrected:
                    break
            return sent
        except (QueueError, StoreError, MarkConflict):
            self._at = None  # whoever comes back is asked first
            raise

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set. What does not answer is tried again with growing, jittered pauses."""
        pause_s = FIRST_PAUSE_S
        while not stop.is_set():
            try:
                sent = self.step()
            except Exception as error:  # noqa: BLE001  the thread's top loop: it outlives every fault
                self._trouble(error)
                longest_s = CONFLICT_PAUSE_S if isinstance(error, MarkConflict) else pause_s
                stop.wait(longest_s * self._random.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
                continue
            if self.state is not RelayState.UP:
                log.info("relay_up", after=self.state.value)
            self.state, self.problem, pause_s = RelayState.UP, "", FIRST_PAUSE_S
            if sent == 0:
                stop.wait(IDLE_S)

    def backlog(self) -> tuple[int, float]:
        """Return how many messages wait, and the age of the oldest in seconds (0 where none waits).

        Before the queue answered for the first time all messages count as waiting: nobody can know better. While the
        store does not answer, what was counted last grows older.
        """
        with contextlib.suppress(StoreError):
            self._waiting = self._reader.waiting_after(self._known)
        count, oldest_at = self._waiting
        return count, 0.0 if oldest_at is None else max(0.0, (self._clock.now() - oldest_at).total_seconds())

    def _place(self) -> int:
        """Return the row to go on from. The mark is asked now and then, so that a loss shows while nothing is due."""
        now_s = self._clock.mono_s()
        if self._at is None or now_s - self._asked_mono_s >= ASK_EVERY_S:
            at = self._find_mark()
            if self._at is not None and at < self._at:
                log.warning("queue_behind", seq=at, known=self._at)
            self._asked_mono_s = now_s
            self._go_on_from(at)
            return at
        return self._at

    def _find_mark(self) -> int:
        """Ask the mark of the source walked last; another's says nothing of a loss, for it may never have been there."""
        if not self._source:
            newest = self._reader.newest_message()
            if newest is None:
                return FIRST_SEQ
            self._source = newest.source
        return self._seq_of(self._queue.mark(self._source))

    def _seq_of(self, mark: Mark | None) -> int:
        """Return where a mark stands in this journal; raise what contradicts it."""
        if mark is None:
            return FIRST_SEQ
        last = self._reader.last_seq()  # read after the mark, so it cannot be older
        here = f"{self._reader.epoch}:{last}"
        if mark.epoch != self._reader.epoch:
            raise MarkConflict(str(mark), here, "it is of another epoch: the store was made anew or restored")
        if mark.seq > last:
            raise MarkConflict(
                str(mark), here, "it names a row that this journal has not: the store lost its end"
            )
        if mark.seq != FIRST_SEQ and not self._reader.is_message(mark.seq):
            raise MarkConflict(
                str(mark), here, "it names a row that is no message here: the store was replaced"
            )
        return mark.seq

    def _go_on_from(self, seq: int) -> None:
        """Go on after row `seq`, where the mark of `_source` stands."""
        self._at = self._known = self._last = seq

    def _send(self, messages: Sequence[CaseMessage]) -> tuple[int, bool]:
        """Append in order; return how many, and whether the place to go on from was corrected."""
        appended = 0
        for message in messages:
            result = self._queue.append(message, self._expected(message))
            if result.outcome is not Outcome.APPENDED:
                self._correct(message, result)
                return appended, True
            appended += 1
            self._go_on_from(message.journalseq)
        return appended, False

    def _expected(self, message: CaseMessage) -> Mark:
        if message.source != self._source:  # the source was renamed in the configuration: another mark
            self._source = message.source
            self._last = self._seq_of(self._queue.mark(message.source))
        return Mark(self._reader.epoch, self._last)

    def _correct(self, message: CaseMessage, result: AppendResult) -> None:
        """Move to where the queue says that it stands."""
        if result.outcome is Outcome.THERE:  # and with it everything up to the mark
            self._go_on_from(self._seq_of(result.mark))
        elif result.outcome is Outcome.BEHIND:
            log.warning("queue_behind", mark=str(result.mark), wanted=message.id)
            self._go_on_from(self._seq_of(result.mark))
        elif result.outcome is Outcome.ABSENT:
            newest = self._queue.newest_of(message.source)
            seq = self._seq_of(newest)
            self._queue.restore_mark(message.source, Mark(self._reader.epoch, seq))
            log.warning("queue_mark_restored", seq=seq)
            self._go_on_from(seq)
        else:
            here = f"{self._reader.epoch}:{self._at}"
            raise MarkConflict(str(result.mark), here, "it stands between two messages of this journal")

    def _trouble(self, error: Exception) -> None:
        state = RelayState.CONFLICT if isinstance(error, MarkConflict) else RelayState.AWAY
        problem = redact(str(error))
        if (state, problem) != (self.state, self.problem):
            log.error("relay_stopped", state=state.value, reason=problem)
        self.state, self.problem = state, problem
