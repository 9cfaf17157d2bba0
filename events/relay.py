# SPDX-License-Identifier: AGPL-3.0-or-later
"""Carries messages from the journal to the case queue: each once, in order, whatever dies in between.

Remembers nothing that matters: where to go on stands in the queue's mark, and every append compares it. So a relay may
die anywhere and several may run. Messages leave in journal order, so what one source's mark names, and everything before
it, is in the queue: that carries the relay past the messages of a source that was renamed since. The rules for a mark that
does not fit stand in docs/adr/0010.
"""

import contextlib
import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

import structlog

from events.errors import MarkConflict, QueueError, StoreError
from events.marks import Marks
from events.messages import CaseMessage
from events.outbox import Outbox, Spoiled
from events.queues.port import FIRST_SEQ, BatchResult, CaseQueue, Mark, Outcome, Trimmed
from events.reading import AlertReader
from gridwatch.core.clock import Clock
from gridwatch.core.redact import redact

log = structlog.get_logger()

PAGE = 100
BATCH_MAX_BYTES = 512 * 1024  # of data in one append: a slow line must carry it within the client's time-out
ROUNDS = 4  # corrections of the place to go on from, within one step
IDLE_S = 0.1
ASK_EVERY_S = 2.0  # for the mark, while nothing is due
TRIM_EVERY_S = 60.0
LONG_STREAM = (
    200_000  # entries, some 0.5 GB of a server's memory: from here on the log says that nobody shortens it
)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0
CONFLICT_PAUSE_S = 30.0


class RelayState(StrEnum):
    """How the relay stands with the queue."""

    STARTING = "starting"
    UP = "up"
    AWAY = "away"  # queue or store does not answer; the backlog grows
    CONFLICT = "conflict"  # nothing is sent until somebody resolves it


@dataclass(frozen=True, slots=True)
class RelayCounts:
    """What a relay did since its start.

    Attributes:
        appended: messages.
        buried: messages given up, because no queue takes them.
        trimmed: entries removed from the streams, whoever added them.
        taken_over: marks of an earlier epoch of this store that were made its own.
    """

    appended: int = 0
    buried: int = 0
    trimmed: int = 0
    taken_over: int = 0


class Relay:
    """Sends what is due. `step` and `run` are for one thread; everything else for any.

    Args:
        reader: of the store whose journal is sent.
        queue: where to.
        clock: its own time for what is done now and then.
        keep: how many entries the streams keep at most, as far as their readers allow; None removes none.
    """

    def __init__(
        self, reader: AlertReader, queue: CaseQueue, clock: Clock, *, keep: int | None = None
    ) -> None:
        self._outbox, self._queue, self._clock = Outbox(reader.store, clock), queue, clock
        self._marks = Marks(self._outbox)
        self._trimmer = _Trimmer(queue, clock, keep)
        self._at: int | None = None  # row up to which the queue has everything; None: ask the mark
        self._asked_mono_s = 0.0
        self._source = ""  # of the message walked last
        self._last = FIRST_SEQ  # where the mark of `_source` stands
        self._known = FIRST_SEQ  # the same as `_at` when it was last known
        self._most = PAGE  # messages in one append; fewer after trouble
        self._waiting: tuple[int, datetime | None] = (0, None)
        self._lying = 0
        self._random = random.Random()  # noqa: S311  spreads retries; no secret
        self._counts = RelayCounts()
        self.state = RelayState.STARTING
        self.problem = ""

    @property
    def counts(self) -> RelayCounts:
        """What was done since the start."""
        return replace(self._counts, trimmed=self._trimmer.removed)

    @property
    def trimmed(self) -> Trimmed | None:
        """What the last trim found; None before the first, and where nothing is trimmed."""
        return self._trimmer.last

    @property
    def stream_length(self) -> int | None:
        """How many entries the stream of messages had when it was looked at last; None before the first time."""
        return self._trimmer.length

    def step(self) -> int:
        """Send what is due now, at most one page; return how many messages were appended.

        Raises:
            QueueError: the queue does not answer.
            StoreError: the store does not answer.
            MarkConflict: the queue's mark contradicts this journal; nothing more was sent.
        """
        try:
            before = self._counts.appended
            for _ in range(ROUNDS):
                if not self._send(self._outbox.messages_after(self._place(), PAGE)):
                    break
            self._trimmer.step()
            return self._counts.appended - before
        except QueueError:
            self._most = max(
                1, self._most // 4
            )  # what is too much for a slow line in one piece may pass in smaller ones
            self._at = None
            raise
        except (StoreError, MarkConflict):
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

        It counts up to 100,000: that many, or more. Before the queue answered for the first time all messages of the journal
        count as waiting, which is the most that can wait: how many the queue has, nobody can know. While the store does not
        answer, what was counted last grows older. What was given up does not wait.
        """
        with contextlib.suppress(StoreError):
            self._waiting = self._outbox.waiting_after(self._known)
        count, oldest_at = self._waiting
        return count, 0.0 if oldest_at is None else max(0.0, (self._clock.now() - oldest_at).total_seconds())

    def dead_letters(self) -> int:
        """Return how many messages were given up and not replayed; while the store is away, how many last time."""
        with contextlib.suppress(StoreError):
            self._lying = self._outbox.lying()
        return self._lying

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
        self._source = self._source or self._outbox.newest_source()
        return self._standing(self._source) if self._source else FIRST_SEQ

    def _standing(self, source: str) -> int:
        """Return where the mark of `source` stands in this journal, after one of an earlier epoch was taken over."""
        for _ in range(ROUNDS):
            mark = self._queue.mark(source)
            if mark is None:
                return FIRST_SEQ
            own = self._marks.meaning(mark, source)
            if own == mark:
                return own.seq
            if self._queue.take_over(source, mark, own):
                self._counts = replace(self._counts, taken_over=self._counts.taken_over + 1)
                log.warning("queue_mark_taken_over", mark=str(mark), becomes=str(own))
                return own.seq
        raise QueueError(
            "the mark of this source changes whenever it is to be taken over; is another gridwatch running?"
        )

    def _go_on_from(self, seq: int) -> None:
        """Go on after row `seq`, where the mark of `_source` stands."""
        self._at = self._known = self._last = seq

    def _send(self, due: Sequence[CaseMessage | Spoiled]) -> bool:
        """Append in order; tell whether the place to go on from was corrected before the end."""
        place = 0
        while place < len(due):
            first = due[place]
            if isinstance(first, Spoiled):
                self._bury(first.seq, first.reason)
                place += 1
                continue
            batch = self._batch(due, place)
            result = self._queue.append_many(batch, self._expected(first))
            self._note(batch[: result.appended])
            place += result.appended
            if result.outcome is Outcome.REFUSED:
                self._bury(batch[result.appended].journalseq, result.reason)
                place += 1
            elif result.outcome is not Outcome.APPENDED:
                self._correct(batch[result.appended], result)
                return True
        return False

    def _batch(self, due: Sequence[CaseMessage | Spoiled], place: int) -> list[CaseMessage]:
        """Return the messages from `place` on that may go in one append: of one source, not too many, not too much."""
        batch: list[CaseMessage] = []
        size = 0
        for one in due[place : place + self._most]:
            if isinstance(one, Spoiled) or (batch and one.source != batch[0].source):
                break
            size += len(one.data)
            if batch and size > BATCH_MAX_BYTES:
                break
            batch.append(one)
        return batch

    def _note(self, appended: Sequence[CaseMessage]) -> None:
        if appended:
            self._go_on_from(appended[-1].journalseq)
            self._counts = replace(self._counts, appended=self._counts.appended + len(appended))
            self._most = min(PAGE, self._most * 2)

    def _expected(self, message: CaseMessage) -> Mark:
        if message.source != self._source:  # the source was renamed in the configuration: another mark
            self._source = message.source
            self._last = self._standing(message.source)
        return Mark(self._outbox.epoch, self._last)

    def _correct(self, message: CaseMessage, result: BatchResult) -> None:
        """Move to where the queue stands."""
        if result.outcome is Outcome.ABSENT:
            newest = self._queue.newest_of(message.source)
            begun = Mark(self._outbox.epoch, FIRST_SEQ)
            own = begun if newest is None else self._marks.meaning(newest, message.source)
            self._queue.restore_mark(message.source, own)
            log.warning("queue_mark_restored", mark=str(own))
            self._go_on_from(own.seq)
            return
        if result.outcome is Outcome.BEHIND:
            log.warning("queue_behind", mark=str(result.mark), wanted=message.id)
        # THERE: it is in the queue, and everything up to the mark. CONFLICT: the mark is not where anybody of this journal
        # would have left it, which the next lines raise; or at a message that this relay gave up and another did not.
        self._go_on_from(self._standing(message.source))

    def _bury(self, seq: int, reason: str) -> None:
        if self._outbox.bury(seq, redact(reason)):
            self._counts = replace(self._counts, buried=self._counts.buried + 1)
            log.error("message_given_up", seq=seq, reason=redact(reason))

    def _trouble(self, error: Exception) -> None:
        state = RelayState.CONFLICT if isinstance(error, MarkConflict) else RelayState.AWAY
        problem = redact(str(error))
        if (state, problem) != (self.state, self.problem):
            log.error("relay_stopped", state=state.value, reason=problem)
        self.state, self.problem = state, problem


class _Trimmer:
    """Trims the streams now and then, or looks how long they grow. What goes wrong with it stops no message."""

    def __init__(self, queue: CaseQueue, clock: Clock, keep: int | None) -> None:
        self._queue, self._clock, self._keep = queue, clock, keep
        self._next_mono_s = clock.mono_s()
        self._said = ""
        self.removed = 0
        self.last: Trimmed | None = None
        self.length: int | None = None

    def step(self) -> None:
        if self._clock.mono_s() < self._next_mono_s:
            return
        try:
            more = self._measure() if self._keep is None else self._trim(self._keep)
        except QueueError as error:
            more = False
            self._say("queue_not_trimmed", redact(str(error)))
        if not more:
            self._next_mono_s = self._clock.mono_s() + TRIM_EVERY_S

    def _trim(self, keep: int) -> bool:
        """Trim once; tell whether there may be more to remove at once."""
        self.last = self._queue.trim(keep)
        self.removed, self.length = self.removed + self.last.removed, self.last.length
        if self.last.removed == 0:
            self._say("queue_trim_held", self.last.held_by)
        return self.last.removed > 0

    def _measure(self) -> bool:
        self.length = self._queue.length()
        long = f"it has {LONG_STREAM} entries or more and grows for ever: set queue.max_length, or give Redis memory"
        self._say("queue_stream_long", long if self.length >= LONG_STREAM else "")
        return False

    def _say(self, event: str, reason: str) -> None:
        if reason and reason != self._said:
            log.warning(event, reason=reason)
        self._said = reason
