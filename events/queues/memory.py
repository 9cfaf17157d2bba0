# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case queue in memory: the twin of the Redis adapter, for tests and trials. Keeps everything until it is trimmed."""

import copy
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from events.errors import QueueError
from events.messages import CaseMessage
from events.queues.port import (
    FIRST_SEQ,
    AppendResult,
    BatchResult,
    Mark,
    Outcome,
    ReplyEntry,
    StreamEntry,
    Trimmed,
    flaw_of,
)


class MemoryCaseQueue:
    """Both streams and the marks of one process; the public attributes are there to look at and to break.

    Attributes:
        entries: the fields of every message, in order.
        marks: source to mark.
        groups: consumer group of the messages to how many of all that were ever appended it has acknowledged.
        abandoned: answers that another reader of the group took long ago and never acknowledged.
        away: while true every call raises `QueueError`.
    """

    def __init__(self) -> None:
        self.entries: list[Mapping[str, str]] = []
        self.marks: dict[str, Mark] = {}
        self.groups: dict[str, int] = {}
        self.abandoned: list[ReplyEntry] = []
        self.away = False
        self._trimmed = 0
        self._replies: list[ReplyEntry] = []
        self._replied = 0
        self._pending: dict[str, ReplyEntry] = {}
        self._read = 0
        self._changed = threading.Condition()

    def append(self, message: CaseMessage, expected: Mark | None) -> AppendResult:
        """Append one message; see the port."""
        result = self.append_many([message], expected or Mark(message.journalepoch, FIRST_SEQ))
        return AppendResult(result.outcome, result.mark)

    def append_many(self, messages: Sequence[CaseMessage], expected: Mark) -> BatchResult:
        """Append messages in order; see the port."""
        due, appended = expected, 0
        with self._changed:
            self._answer()
            for message in messages:
                mark = self.marks.get(message.source)
                if reason := flaw_of(message):
                    return BatchResult(appended, Outcome.REFUSED, mark, reason)
                outcome = judge(mark, due, message.journalseq, empty=not self.entries)
                if outcome is not Outcome.APPENDED:
                    return BatchResult(appended, outcome, mark)
                due = self.marks[message.source] = Mark(due.epoch, message.journalseq)
                self.entries.append(message.fields())
                appended += 1
        return BatchResult(appended, Outcome.APPENDED, due)

    def mark(self, source: str) -> Mark | None:
        """Return the mark of a source, or None."""
        with self._changed:
            self._answer()
            return self.marks.get(source)

    def newest_of(self, source: str) -> Mark | None:
        """Return the last message of `source`, or None."""
        with self._changed:
            self._answer()
            own = [entry for entry in self.entries if entry.get("source") == source]
            return Mark(own[-1]["journalepoch"], int(own[-1]["journalseq"])) if own else None

    def restore_mark(self, source: str, mark: Mark) -> None:
        """Set a mark that is absent."""
        with self._changed:
            self._answer()
            self.marks.setdefault(source, mark)

    def take_over(self, source: str, old: Mark, new: Mark) -> bool:
        """Set the mark if it is `old`; see the port."""
        with self._changed:
            self._answer()
            if (there := self.marks.get(source)) is None or there.stored != old.stored:
                return False
            self.marks[source] = new
            return True

    def trim(self, keep: int) -> Trimmed:
        """Remove the oldest entries that every group has acknowledged; see the port."""
        with self._changed:
            self._answer()
            slowest = min(self.groups, key=lambda group: self.groups[group], default="")
            free = self.groups[slowest] - 1 - self._trimmed if slowest else 0
            excess = max(0, len(self.entries) - max(1, keep))
            removed = max(0, min(excess, free))
            del self.entries[:removed]
            self._trimmed += removed
            held_by = f"entries {slowest}".strip() if removed < excess else ""
            return Trimmed(removed + self._trim_replies(max(1, keep)), len(self.entries), held_by)

    def length(self) -> int:
        """Return how many entries the stream of messages has."""
        with self._changed:
            self._answer()
            return len(self.entries)

    def _trim_replies(self, keep: int) -> int:
        pending = [at for at, entry in enumerate(self._replies) if entry.entry_id in self._pending]
        removed = max(0, min(len(self._replies) - keep, self._read, *pending))
        del self._replies[:removed]
        self._read -= removed
        return removed

    def add_reply(self, fields: Mapping[str, str]) -> str:
        """Answer, as a case system would; return the entry's id."""
        with self._changed:
            self._replied += 1
            entry = ReplyEntry(f"{self._replied}-0", dict(fields))
            self._replies.append(entry)
            self._changed.notify_all()
            return entry.entry_id

    def read_replies(self, limit: int, wait_s: float, *, pending: bool = False) -> Sequence[ReplyEntry]:
        """Return answers; see the port."""
        with self._changed:
            self._answer()
            if pending:
                return list(self._pending.values())[:limit]
            self._changed.wait_for(lambda: len(self._replies) > self._read, wait_s)
            found = self._replies[self._read : self._read + limit]
            self._read += len(found)
            self._pending |= {entry.entry_id: entry for entry in found}
            return found

    def ack(self, entry_ids: Sequence[str]) -> None:
        """Forget answers that were recorded."""
        with self._changed:
            self._answer()
            for entry_id in entry_ids:
                self._pending.pop(entry_id, None)

    def claim_stale(self, min_idle_s: float, limit: int) -> int:  # noqa: ARG002  what is abandoned is so for long enough
        """Take over what a dead reader left; see the port."""
        with self._changed:
            self._answer()
            claimed, self.abandoned = self.abandoned[:limit], self.abandoned[limit:]
            self._pending |= {entry.entry_id: entry for entry in claimed}
            return len(claimed)

    def history(self, after: str, limit: int) -> Sequence[StreamEntry]:
        """Return entries of the message stream; see the port."""
        with self._changed:
            self._answer()
            first = max(0, int(after or 0) - self._trimmed)
            page = self.entries[first : first + limit]
            return [
                StreamEntry(str(number), entry)
                for number, entry in enumerate(page, self._trimmed + first + 1)
            ]

    def reread_replies(self) -> None:
        """Begin the answers anew; see the port."""
        with self._changed:
            self._answer()
            self._read = 0

    def snapshot(self) -> Any:
        """Return what a backup of the streams would hold."""
        return copy.deepcopy((self.entries, self.marks))

    def restore(self, snapshot: Any) -> None:
        """Come back as the backup was: older."""
        self.entries, self.marks = copy.deepcopy(snapshot)

    def _answer(self) -> None:
        if self.away:
            time.sleep(0)
            raise QueueError("the queue is away")


def judge(mark: Mark | None, expected: Mark, own_seq: int, *, empty: bool) -> Outcome:
    """Return what an append finds; the Redis adapter's script says the same in Lua."""
    if mark is None and not empty:
        return Outcome.ABSENT
    seq = FIRST_SEQ if mark is None else mark.seq
    if mark is not None and mark.epoch != expected.epoch:
        return Outcome.CONFLICT
    if seq >= own_seq:
        return Outcome.THERE
    if seq == expected.seq:
        return Outcome.APPENDED
    return Outcome.BEHIND if seq < expected.seq else Outcome.CONFLICT
