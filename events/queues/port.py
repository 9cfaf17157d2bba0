# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case queue as relay and reply reader see it: append once, in order; read answers, and forget them when recorded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from events.messages import CaseMessage

FIRST_SEQ = 0


@dataclass(frozen=True, slots=True)
class Mark:
    """The last message of a source that the queue took: a journal row, `epoch:seq`. `seq` 0: none yet."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """Read a mark as the queue keeps it; what is no mark is one of an epoch that nobody has."""
        epoch, _, seq = text.rpartition(":")
        return cls(epoch, int(seq)) if seq.isdecimal() else cls(text, FIRST_SEQ)


class Outcome(StrEnum):
    """What an append found."""

    APPENDED = "appended"  # the mark was where it should be; the message stands in the stream, the mark moved
    THERE = "there"  # the mark is at or past this message: it is in the stream already
    BEHIND = "behind"  # the queue came back older: send again, in order, what follows the mark
    ABSENT = "absent"  # no mark beside a stream that is not empty: read the stream's tail first
    CONFLICT = "conflict"  # the mark contradicts this journal: another epoch, or a row that it does not know


@dataclass(frozen=True, slots=True)
class AppendResult:
    """What an append found, and the mark as it is now (None: there is none)."""

    outcome: Outcome
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class ReplyEntry:
    """One entry of the reply stream; `entry_id` acknowledges it."""

    entry_id: str
    fields: Mapping[str, str]


class CaseQueue(Protocol):
    """A shared case queue. Every method raises `QueueError` when it does not answer."""

    def append(self, message: CaseMessage, expected: Mark | None) -> AppendResult:
        """Append `message` if its source's mark is `expected`, and move the mark, in one step.

        `expected` is the predecessor in this store's epoch, with seq 0 before the first; None means the same with the
        message's own epoch. Any other outcome than APPENDED changes nothing.
        """
        ...

    def mark(self, source: str) -> Mark | None:
        """Return the mark of a source, or None."""
        ...

    def newest_of(self, source: str) -> Mark | None:
        """Read the stream from its end and return the last message of `source` in it, or None."""
        ...

    def restore_mark(self, source: str, mark: Mark) -> None:
        """Set a mark that is absent; one that is there stays."""
        ...

    def read_replies(self, limit: int, wait_s: float, *, pending: bool = False) -> Sequence[ReplyEntry]:
        """Return at most `limit` answers: new ones, waiting up to `wait_s`; or (`pending`) those read but not acknowledged."""
        ...

    def ack(self, entry_ids: Sequence[str]) -> None:
        """Acknowledge answers that were recorded."""
        ...
