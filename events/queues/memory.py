# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case queue in memory: the twin of the Redis adapter, for tests and trials. Keeps everything until it is gone."""

import copy
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

from events.errors import QueueError
from events.messages import CaseMessage
from events.queues.port import FIRST_SEQ, AppendResult, Mark, Outcome, ReplyEntry


class MemoryCaseQueue:
    """Both streams and the marks of one process; the public attributes are there to look at and to break.

    Attributes:
        entries: the fields of every message, in order.
        marks: source to mark.
        away: while true every call raises `QueueError`.
    """

    def __init__(self) -> None:
        self.entries: list[Mapping[str, str]] = []
        self.marks: dict[str, Mark] = {}
        self.away = False
        self._replies: list[ReplyEntry] = []
        self._pending: dict[str, ReplyEntry] = {}
        self._read = 0
        self._changed = threading.Condition()

    def append(self, message: CaseMessage, expected: Mark | None) -> AppendResult:
        """Append one message; see the port."""
        due = expected or Mark(message.journalepoch, FIRST_SEQ)
        with self._changed:
            self._answer()
            mark = self.marks.get(message.source)
            outcome = judge(mark, due, message.journalseq, empty=not self.entries)
            if outcome is Outcome.APPENDED:
                mark = self.marks[message.source] = Mark(due.epoch, message.journalseq)
                self.entries.append(message.fields())
            return AppendResult(outcome, mark)

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

    def add_reply(self, fields: Mapping[str, str]) -> str:
        """Answer, as a case system would; return the entry's id."""
        with self._changed:
            entry = ReplyEntry(f"{len(self._replies) + 1}-0", dict(fields))
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
