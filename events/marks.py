# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a queue's mark means in this journal, and what contradicts it. The rules stand in docs/adr/0010.

Reads the journal; asks no queue, but for `adopt`, which sets a mark because a person says so.
"""

from events.errors import MarkConflict, QueueError
from events.outbox import Outbox
from events.queues.port import FIRST_SEQ, CaseQueue, Mark

ADOPT = "`gridwatch queue adopt{}` decides from which row to go on"


class Marks:
    """Reads marks against one open store; every method may raise `StoreError`."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox

    def meaning(self, mark: Mark, source: str) -> Mark:
        """Return what the mark of `source` means in this store's epoch: the same, or as far as both have the same rows.

        Raises:
            MarkConflict: this store does not go on from the mark's epoch, or the mark names no message of this journal.
        """
        own = self.in_this_epoch(mark, source)
        self._check(own, source)
        return own

    def in_this_epoch(self, mark: Mark, source: str = "") -> Mark:
        """Return the mark, or as far as its epoch and this store's have the same rows; whatever stands there.

        `source` is whose mark it is, for the error; "" where it is of no source.

        Raises:
            MarkConflict: this store does not go on from the mark's epoch.
        """
        here = self._outbox.epoch
        if mark.epoch == here:
            return mark
        epochs = {one.epoch: one for one in self._outbox.epochs()}
        seq, one = mark.seq, epochs.get(here)
        while one is not None and one.follows is not None:
            seq = min(seq, one.followed_until or FIRST_SEQ)
            if one.follows == mark.epoch:
                return Mark(here, seq)
            one = epochs.pop(one.follows, None)  # each is passed once, whatever the rows say
        problem = "it is of an epoch that this store does not go on from, so another store wrote it"
        raise _conflict(mark, f"{here}:{self._outbox.last_seq()}", problem, source)

    def _check(self, own: Mark, source: str) -> None:
        """Raise what contradicts this journal in a mark of its own epoch."""
        last = self._outbox.last_seq()  # read after the mark, so it cannot be older
        if own.seq > last:
            problem = "it names a row that this journal has not: the store lost its end"
        elif own.seq == FIRST_SEQ or self._outbox.is_message(own.seq):
            return
        elif any(own.seq == one.followed_until for one in self._outbox.epochs()):
            return  # the last row that a restored journal shares with the one before it
        else:
            problem = "it names a row that is no message here: the store was replaced"
        raise _conflict(own, f"{own.epoch}:{last}", problem, source)


def _conflict(mark: Mark, here: str, problem: str, source: str) -> MarkConflict:
    what_to_do = ADOPT.format(f" --source {source}" if source else "")
    return MarkConflict(str(mark), here, f"{problem}; {what_to_do}", source)


def adopt(outbox: Outbox, queue: CaseQueue, source: str, after: int) -> tuple[Mark | None, Mark]:
    """Let the queue go on after row `after` of this journal, whatever its mark says; return the mark before, and now.

    Args:
        outbox: of the store whose journal is to be sent.
        queue: the one whose mark is in conflict.
        source: whose mark.
        after: 0 sends everything; else the last message of `source` at or before this row counts as the last one sent, and
            no later one of another source with it: what a mark names, and everything before it, counts as sent.

    Raises:
        QueueError: the queue does not answer, or somebody moved the mark in the same moment.
        StoreError: the store does not answer.
    """
    before = queue.mark(source)
    now = Mark(outbox.epoch, outbox.message_at(after, source))
    if before is None:
        queue.restore_mark(source, now)
    elif not queue.take_over(source, before, now):
        raise QueueError("the mark was moved in the same moment; look again")
    return before, now
