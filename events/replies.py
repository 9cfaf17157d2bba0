# SPDX-License-Identifier: AGPL-3.0-or-later
"""Takes the case system's answers from the queue into the incident book. An answer is acknowledged after it was recorded."""

import random
import threading
from collections.abc import Sequence
from typing import Protocol

import structlog

from events.errors import DecodeError, QueueError, StoreError
from events.messages import CaseReply
from events.queues.port import CaseQueue, ReplyEntry
from gridwatch.core.redact import redact

log = structlog.get_logger()

PAGE = 50
WAIT_S = 0.5
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 10.0


class AnswerBook(Protocol):
    """What takes the answers (`events.incidents.IncidentBook`)."""

    def answer(self, reply: CaseReply, /) -> str:
        """Record an answer."""
        ...

    def keep_unreadable(self, error: DecodeError, entry_id: str, /) -> str:
        """Record what is no answer."""
        ...


class ReplyReader:
    """Reads answers; for one thread. What was read and not acknowledged before a crash is read first.

    Attributes:
        taken: answers taken since the start, by what became of them.
    """

    def __init__(self, book: AnswerBook, queue: CaseQueue, wait_s: float = WAIT_S) -> None:
        self._book, self._queue, self._wait_s = book, queue, wait_s
        self._pending_first = True
        self._random = random.Random()  # noqa: S311  spreads retries; no secret
        self.taken: dict[str, int] = {}
        self.problem = ""

    def step(self) -> int:
        """Take at most one page of answers, waiting up to `wait_s` for the first; return how many.

        Raises:
            QueueError: the queue does not answer.
            StoreError: the store does not answer; the answers stay unacknowledged.
        """
        try:
            entries = self._read()
            for entry in entries:
                self._take(entry)
            self._queue.ack([entry.entry_id for entry in entries])
            return len(entries)
        except BaseException:
            self._pending_first = True
            raise

    def run(self, stop: threading.Event) -> None:
        """Step until `stop` is set. What does not answer is tried again with growing, jittered pauses."""
        pause_s = FIRST_PAUSE_S
        while not stop.is_set():
            try:
                self.step()
            except Exception as error:  # noqa: BLE001  the thread's top loop: it outlives every fault
                problem = redact(str(error))
                if problem != self.problem:
                    log.error("replies_stopped", reason=problem)
                self.problem = problem
                stop.wait(pause_s * self._random.uniform(0.5, 1.0))
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
            else:
                self.problem, pause_s = "", FIRST_PAUSE_S

    def _read(self) -> Sequence[ReplyEntry]:
        if self._pending_first:
            entries = self._queue.read_replies(PAGE, 0, pending=True)
            if entries:
                return entries
            self._pending_first = False
        return self._queue.read_replies(PAGE, self._wait_s)

    def _take(self, entry: ReplyEntry) -> None:
        # Trimmed from the stream before it was acknowledged: nothing is left to record.
        outcome = self._outcome(entry) if entry.fields else "gone"
        self.taken[outcome] = self.taken.get(outcome, 0) + 1
        if outcome not in ("recorded", "duplicate"):
            log.warning("reply_kept_apart", outcome=outcome, entry=entry.entry_id)

    def _outcome(self, entry: ReplyEntry) -> str:
        try:
            return self._book.answer(CaseReply.parse(entry.fields))
        except (StoreError, QueueError):
            raise
        except DecodeError as error:
            unread = error
        except Exception as error:  # noqa: BLE001  whatever one entry does, it may not stop those behind it
            log.error("reply_failed", entry=entry.entry_id, reason=redact(repr(error)))
            unread = DecodeError(f"it cannot be taken: {type(error).__name__}", entry.fields)
        return self._book.keep_unreadable(unread, entry.entry_id)
