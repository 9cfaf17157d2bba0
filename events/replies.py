# SPDX-License-Identifier: AGPL-3.0-or-later
"""Takes the case system's answers from the queue into the incident book. An answer is acknowledged after it was recorded."""

import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import structlog

from events.errors import DecodeError, QueueError, RecordRefused, StoreError
from events.messages import CaseReply
from events.queues.port import CaseQueue, ReplyEntry
from gridwatch.core.redact import redact

log = structlog.get_logger()

PAGE = 50
WAIT_S = 0.5
STALE_AFTER_S = 60.0
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

    What another reader of the group took and left for `stale_after_s` is taken over: a gridwatch that was started under
    another name, or beside this one, and died. If it lives after all, the book knows what both bring.

    Args:
        book: what takes the answers.
        queue: where they come from.
        wait_s: how long a step waits for the first answer.
        stale_after_s: after how long an answer that another reader took counts as left.
        mono_s: monotonic seconds.

    Attributes:
        taken: answers taken since the start, by what became of them.
        claimed: answers taken over from readers that left them.
    """

    def __init__(
        self,
        book: AnswerBook,
        queue: CaseQueue,
        wait_s: float = WAIT_S,
        stale_after_s: float = STALE_AFTER_S,
        mono_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._book, self._queue, self._wait_s = book, queue, wait_s
        self._stale_after_s, self._mono_s = stale_after_s, mono_s
        self._claim_due_mono_s: float | None = None  # None: at once
        self._pending_first = True
        self.claimed = 0
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
        # Own ones first: asked for what others left, a server also forgets what was trimmed away before we counted it.
        if self._pending_first:
            entries = self._queue.read_replies(PAGE, 0, pending=True)
            if entries:
                return entries
            self._pending_first = False
        if self._claims():
            self._pending_first = True
            return self._queue.read_replies(PAGE, 0, pending=True)
        return self._queue.read_replies(PAGE, self._wait_s)

    def _claims(self) -> bool:
        """Take over what was left; look again when half the time has gone by that makes an answer stale."""
        now_mono_s = self._mono_s()
        if self._claim_due_mono_s is not None and now_mono_s < self._claim_due_mono_s:
            return False
        claimed = self._queue.claim_stale(self._stale_after_s, PAGE)
        if claimed < PAGE:
            self._claim_due_mono_s = now_mono_s + self._stale_after_s / 2
        if claimed:
            log.info("replies_claimed", count=claimed)
            self.claimed += claimed
        return claimed > 0

    def _take(self, entry: ReplyEntry) -> None:
        # Trimmed from the stream before it was acknowledged: nothing is left to record.
        outcome = take_entry(self._book, entry.fields, entry.entry_id) if entry.fields else "gone"
        self.taken[outcome] = self.taken.get(outcome, 0) + 1
        if outcome not in ("recorded", "duplicate", "elsewhere"):
            log.warning("reply_kept_apart", outcome=outcome, entry=entry.entry_id)


def take_entry(book: AnswerBook, fields: Mapping[str, str], entry_id: str) -> str:
    """Record one entry of answers, whatever it holds; return what became of it.

    Raises:
        StoreError: the store does not answer; nothing was recorded.
    """
    try:
        return book.answer(CaseReply.parse(fields))
    except RecordRefused as error:
        log.error("reply_refused", entry=entry_id, reason=redact(str(error)))
        unread = DecodeError("the store does not take it", fields)
    except (StoreError, QueueError):
        raise
    except DecodeError as error:
        unread = error
    except Exception as error:  # noqa: BLE001  whatever one entry does, it may not stop those behind it
        log.error("reply_failed", entry=entry_id, reason=redact(repr(error)))
        unread = DecodeError(f"it cannot be taken: {type(error).__name__}", fields)
    return book.keep_unreadable(unread, entry_id)
