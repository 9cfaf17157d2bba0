# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case queue as relay and reply reader see it: append once, in order; read answers, and forget them when recorded.

No Redis here; `redis_streams` and `memory` stand behind it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from events.compose import DATA_MAX_BYTES
from events.messages import CaseMessage

FIRST_SEQ = 0
SEQ_DIGITS = 18  # more than any journal needs, and within a database's integers


@dataclass(frozen=True, slots=True)
class Mark:
    """The last message of a source that the queue took: a journal row, `epoch:seq`. `seq` 0: none yet.

    Attributes:
        raw: the bytes that the queue keeps, which need not be a mark; None where they are not known.
    """

    epoch: str
    seq: int
    raw: bytes | None = field(default=None, compare=False, repr=False)

    def __str__(self) -> str:
        return (
            f"{self.epoch}:{self.seq}" if self.raw is None else self.raw.decode("utf-8", "backslashreplace")
        )

    @property
    def stored(self) -> bytes:
        """The bytes that the queue keeps for this mark."""
        return str(self).encode() if self.raw is None else self.raw

    @classmethod
    def parse(cls, kept: str | bytes) -> "Mark":
        """Read a mark as the queue keeps it; what is no mark is one of an epoch that nobody has."""
        raw = kept.encode("utf-8", "backslashreplace") if isinstance(kept, str) else kept
        text = raw.decode("utf-8", "backslashreplace")
        epoch, _, seq = text.rpartition(":")
        sound = epoch and seq.isascii() and seq.isdigit() and len(seq) <= SEQ_DIGITS
        return cls(epoch, int(seq), raw) if sound else cls(text, FIRST_SEQ, raw)


class Outcome(StrEnum):
    """What an append found."""

    APPENDED = "appended"  # the mark was where it should be; the message stands in the stream, the mark moved
    THERE = "there"  # the mark is at or past this message: it is in the stream already
    BEHIND = "behind"  # the queue came back older: send again, in order, what follows the mark
    ABSENT = "absent"  # no mark beside a stream that is not empty: read the stream's tail first
    CONFLICT = "conflict"  # the mark contradicts this journal: another epoch, or a row that it does not know
    REFUSED = "refused"  # this message can never be appended, whatever the queue holds; those after it can


@dataclass(frozen=True, slots=True)
class AppendResult:
    """What an append found, and the mark as it is now (None: there is none)."""

    outcome: Outcome
    mark: Mark | None


@dataclass(frozen=True, slots=True)
class BatchResult:
    """How far a batch came.

    Attributes:
        appended: how many of its messages were appended, from the first on.
        outcome: APPENDED where all were; else what the message after those found.
        mark: as it is now; None: there is none.
        reason: of REFUSED, why.
    """

    appended: int
    outcome: Outcome
    mark: Mark | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Trimmed:
    """What a trim did.

    Attributes:
        removed: entries removed from the streams.
        length: entries that the stream of messages holds now.
        held_by: the consumer group that keeps a stream from being shorter, `stream group`; where a stream has none at
            all, its name alone; "" where nothing is in the way.
    """

    removed: int
    length: int
    held_by: str


@dataclass(frozen=True, slots=True)
class ReplyEntry:
    """One entry of the reply stream; `entry_id` acknowledges it."""

    entry_id: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry of the message stream, whoever appended it."""

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

    def append_many(self, messages: Sequence[CaseMessage], expected: Mark) -> BatchResult:
        """Append messages of one source in order, each as `append` does it, after the first's predecessor `expected`.

        It stops at the first that is not appended; those before it stay appended, and the mark names the last of them.
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

    def take_over(self, source: str, old: Mark, new: Mark) -> bool:
        """Set the mark to `new` if it is `old`, in one step; tell whether it was."""
        ...

    def trim(self, keep: int) -> Trimmed:
        """Remove the oldest entries of both streams down to `keep` (at least 1), whoever added them; a bounded number a call.

        An entry stays while any consumer group of its stream has not read and acknowledged it, and the last one that the
        slowest group read stays too. Everything stays where a stream has no group: who reads it is not known then.
        """
        ...

    def length(self) -> int:
        """Return how many entries the stream of messages has, whoever added them."""
        ...

    def read_replies(self, limit: int, wait_s: float, *, pending: bool = False) -> Sequence[ReplyEntry]:
        """Return at most `limit` answers: new ones, waiting up to `wait_s`; or (`pending`) those read but not acknowledged."""
        ...

    def ack(self, entry_ids: Sequence[str]) -> None:
        """Acknowledge answers that were recorded."""
        ...

    def claim_stale(self, min_idle_s: float, limit: int) -> int:
        """Take over answers that a reader of our group took `min_idle_s` ago or earlier and never acknowledged: it is dead.

        They are then read as this reader's own pending ones. Returns how many they are, at most `limit`.
        """
        ...

    def history(self, after: str, limit: int) -> Sequence[StreamEntry]:
        """Return at most `limit` entries of the message stream that stand after entry `after` ("": from its beginning)."""
        ...

    def reread_replies(self) -> None:
        """Let the answers begin anew: `read_replies` returns again, as new ones, all that the stream still holds."""
        ...


def flaw_of(message: CaseMessage) -> str:
    """Return why no queue takes `message`, or "": its data must have 64 KB at most, and all of it must be UTF-8."""
    if len(message.data) > DATA_MAX_BYTES:
        return (
            f"its data has {len(message.data)} bytes, more than the {DATA_MAX_BYTES} that a message may have"
        )
    try:
        "".join(message.fields().values()).encode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        return f"it cannot be encoded as UTF-8: {error.reason}"
    return ""
