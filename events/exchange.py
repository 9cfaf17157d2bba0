# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case queue's two directions for a case system that does not reach the queue: messages by page, answers one by one.

The same entries as on the queue, and the same effects. It moves no mark: who reads here remembers where it stands.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeGuard

from events.errors import ForeignJournal, MarkConflict
from events.marks import Marks
from events.messages import CaseMessage
from events.outbox import Outbox, Spoiled
from events.queues.port import Mark, flaw_of
from events.replies import AnswerBook, take_entry

PAGE_MAX: Final = 500
PAGE_BYTES: Final = 4 << 20
HERE: Final = "http"  # where an unreadable answer came from; on the queue its entry's id stands there


@dataclass(frozen=True, slots=True)
class MessagePage:
    """Messages in the order of the journal.

    Attributes:
        next: where the reader stands after this page: the `after` of its next call.
        epoch: the journal that `next` belongs to.
    """

    messages: Sequence[CaseMessage]
    next: int
    epoch: str


class Exchange:
    """Both directions. Safe for several threads; every method may raise `StoreError`."""

    def __init__(self, outbox: Outbox, book: AnswerBook) -> None:
        self._outbox, self._book = outbox, book

    def messages(self, after: int, epoch: str | None, limit: int) -> MessagePage:
        """Return at most `limit` messages recorded after row `after`, and at most 4 MiB of them, but at least one.

        What no queue takes is none here either.

        Args:
            after: the journal's row where the reader stands, 0 at first.
            epoch: the journal that `after` belongs to; None takes it for this one.
            limit: taken as 1 to 500.

        Raises:
            ForeignJournal: the reader stands where this journal never was.
        """
        at, limit = self._start(after, epoch), max(1, min(PAGE_MAX, limit))
        kept: list[CaseMessage] = []
        while not kept and (found := self._outbox.messages_after(at, limit)):
            kept = list(_within((message for message in found if _may_leave(message)), PAGE_BYTES))
            at = kept[-1].journalseq if kept else _seq_of(found[-1])
        return MessagePage(kept, at, self._outbox.epoch)

    def take(self, fields: Mapping[str, str]) -> str:
        """Record one answer, given as the fields of an entry; return what became of it.

        recorded; duplicate; orphan (unknown incident, or no answer at all: kept as it came); illegal (kept, moved nothing);
        elsewhere (another gridwatch records it).
        """
        return take_entry(self._book, fields, HERE)

    def _start(self, after: int, epoch: str | None) -> int:
        here, last = self._outbox.epoch, self._outbox.last_seq()
        try:
            start = Marks(self._outbox).in_this_epoch(Mark(epoch or here, after)).seq
        except MarkConflict as error:
            raise ForeignJournal(
                f"epoch {epoch!r} is none that this journal goes on from; begin again with after=0",
                here,
                last,
            ) from error
        if start > last:
            raise ForeignJournal(
                f"row {start} is past this journal's end ({last}): the reader stands in another one; "
                "send its epoch too, or begin again with after=0",
                here,
                last,
            )
        return start


def _may_leave(message: CaseMessage | Spoiled) -> TypeGuard[CaseMessage]:
    """Tell whether a queue takes it: what the relay gives up is a gap on every way."""
    return isinstance(message, CaseMessage) and not flaw_of(message)


def _seq_of(message: CaseMessage | Spoiled) -> int:
    return message.journalseq if isinstance(message, CaseMessage) else message.seq


def _within(messages: Iterable[CaseMessage], most_bytes: int) -> Iterable[CaseMessage]:
    """Yield messages up to a size, but at least one."""
    left = most_bytes
    for number, message in enumerate(messages):
        left -= len(message.data)
        if number > 0 and left < 0:
            return
        yield message
