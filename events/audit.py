# SPDX-License-Identifier: AGPL-3.0-or-later
"""Checks the journal: the chain row by row, and against the case system's copy of the messages. Writes nothing.

The chain alone shows the first row that somebody changed, removed or inserted. Who rewrites everything from some row to the
end leaves a sound chain behind: that shows only against what left the house, for each message carries the hash of its row.
A payload that retention deleted leaves its hash, and the chain whole. A copy under our source whose epoch this journal does
not go on from is a flaw too: else who rewrites everything would only have to rename the epoch.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import islice
from typing import Any

from sqlalchemy import Connection, func, select

from events.journal import GENESIS, Epoch, hash_of
from events.lineage import comparable, says_restored
from events.queues.port import SEQ_DIGITS
from events.stores import queries
from events.stores.schema import COUNTER, JOURNAL
from events.stores.sql import Store

PAGE = 1_000
COPIES_AT_A_TIME = 400
RENUMBERED_MOST = 100  # rows missing before a renumbered one that are searched for
_SOURCE = re.compile(r'"source":"([^"\\]+)"')  # of a message, in the canonical text of its row's payload
Progress = Callable[[int, int], None]


class Flaw(StrEnum):
    """What was done to a row."""

    CHANGED = "changed"
    REMOVED = "removed"
    INSERTED = "inserted"
    REPLACED = "replaced"  # with its epoch: this journal is another one than the case system was told of


@dataclass(frozen=True, slots=True)
class Copy:
    """A message as the case system keeps it: the part that anchors the journal."""

    source: str
    id: str
    journalepoch: str
    journalseq: int
    journalhash: str

    @classmethod
    def of(cls, fields: Mapping[str, Any]) -> "Copy | None":
        """Return the copy that a stream's entry or a line of a file is; None where it is no message of a journal."""
        names = ("source", "id", "journalepoch", "journalhash")
        texts = [fields.get(name) for name in names]
        seq = str(fields.get("journalseq", ""))
        if not all(isinstance(text, str) and text for text in texts):
            return None
        if not (seq.isascii() and seq.isdigit() and len(seq) <= SEQ_DIGITS):
            return None
        source, message_id, epoch, row_hash = (str(text) for text in texts)
        return cls(source, message_id, epoch, int(seq), row_hash)


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was found; true where something is wrong.

    Attributes:
        rows: how many rows the chain has.
        emptied: how many of them lost their payload to retention.
        copies: how many copies were compared with their row.
        foreign: copies of other gridwatches' journals: they say nothing of this one.
        left_behind: copies of rows that were written after the backup from which this store was restored.
        flaw: what was done to row `seq`, the first that is wrong; None where all is well.
        problem: how that shows, one phrase.
    """

    rows: int = 0
    emptied: int = 0
    copies: int = 0
    foreign: int = 0
    left_behind: int = 0
    flaw: Flaw | None = None
    seq: int | None = None
    problem: str = ""

    def __bool__(self) -> bool:
        return self.flaw is not None

    def __str__(self) -> str:
        if self.flaw is not None:
            return f"row {self.seq} was {self.flaw}: {self.problem}"
        told = f"{self.rows} rows, one chain; {self.emptied} of them without their payload, as retention left them"
        return (
            f"{told}; {self.copies} messages of the case system's copy are the same" if self.copies else told
        )


def verify(
    store: Store, copies: Iterable[Copy] = (), progress: Progress | None = None, *, source: str = ""
) -> Findings:
    """Check the chain as it stands now, then every copy against its row; the earliest wrong row is told.

    Args:
        store: an open store; it may be written to meanwhile.
        copies: what the case system keeps of the messages, in any order; read once.
        progress: called with the rows checked and all of them.
        source: ours as configured. Copies of it, and of every source that a message in the journal has, must be of an epoch
            that this journal goes on from.

    Raises:
        StoreError: the database does not answer.
    """
    with store.read() as connection:
        end = _End.read(connection)
    walk = _Walk(store, end)
    findings = walk.run(progress)
    return _Comparison(store, end, walk.sources | {source}).run(copies, findings)


@dataclass(frozen=True, slots=True)
class _End:
    """Where the journal ends by its counter, and the last row that there is."""

    seq: int
    last_hash: str
    epoch: str
    newest: int
    epochs: tuple[Epoch, ...]
    beginnings: Mapping[int, Mapping[str, Any]]  # rows at the first numbers of epochs that go on from another

    @classmethod
    def read(cls, connection: Connection) -> "_End":
        counter = connection.execute(select(COUNTER.c.seq, COUNTER.c.last_hash, COUNTER.c.epoch)).one()
        newest = connection.execute(select(func.max(JOURNAL.c.seq))).scalar() or 0
        epochs = tuple(queries.epochs(connection))
        first = JOURNAL.c.seq.in_({one.first_seq for one in epochs if one.follows is not None})
        beginnings = {
            row["seq"]: dict(row) for row in connection.execute(select(JOURNAL).where(first)).mappings()
        }
        return cls(counter.seq, counter.last_hash, counter.epoch, newest, epochs, beginnings)


class _Walk:
    """Goes along the chain, and stops at the first row that is wrong.

    Attributes:
        sources: of the messages passed.
    """

    def __init__(self, store: Store, end: _End) -> None:
        self._store, self._end = store, end
        self._restored = {one.first_seq: one for one in end.epochs if one.follows is not None}
        self._before, self._last = GENESIS, 0
        self._rows = self._emptied = 0
        self.sources: set[str] = set()

    def run(self, progress: Progress | None) -> Findings:
        """Return what the chain alone says."""
        while page := self._page():
            for fields in page:
                flaw = self._flaw_of(fields)
                if flaw is not None:
                    return flaw
                self._rows += 1
                self._emptied += fields["payload"] is None
                if fields["message_id"] and fields["payload"]:
                    self.sources.update(_SOURCE.findall(fields["payload"]))
                self._before, self._last = fields["row_hash"], fields["seq"]
            if progress is not None:
                progress(self._last, self._end.seq)
        return self._flaw_of_the_end() or self._findings()

    def _page(self) -> list[dict[str, Any]]:
        part = JOURNAL.c.seq.between(self._last + 1, self._end.seq)
        with self._store.read() as connection:
            found = connection.execute(select(JOURNAL).where(part).order_by(JOURNAL.c.seq).limit(PAGE))
            return [dict(fields) for fields in found.mappings()]

    def _findings(self, flaw: Flaw | None = None, seq: int | None = None, problem: str = "") -> Findings:
        return Findings(rows=self._rows, emptied=self._emptied, flaw=flaw, seq=seq, problem=problem)

    def _flaw_of(self, fields: Mapping[str, Any]) -> Findings | None:
        seq = fields["seq"]
        if seq != self._last + 1 and not self._goes_on_restored(fields):
            return self._findings(Flaw.REMOVED, self._last + 1, f"row {self._last} is followed by row {seq}")
        if fields["prev_hash"] != self._before:
            return self._broken_link(fields)
        if not _sound(fields):
            return self._unsound(fields)
        return None

    def _goes_on_restored(self, fields: Mapping[str, Any]) -> bool:
        """Tell whether a restore left the gap before this row: numbers go on above what the stream showed."""
        epoch = self._restored.get(fields["seq"])
        return epoch is not None and says_restored(fields, epoch) and epoch.followed_until == self._last

    def _broken_link(self, fields: Mapping[str, Any]) -> Findings:
        seq = fields["seq"]
        follows = self._seq_where(JOURNAL.c.row_hash == fields["prev_hash"])
        if fields["prev_hash"] == GENESIS:
            follows = 0
        if follows is not None and follows < self._last:
            what = f"row {seq} follows row {follows} by its hash"
            return self._findings(Flaw.INSERTED, follows + 1, what)
        if any(_sound({**fields, "seq": seq + moved}) for moved in range(1, RENUMBERED_MOST)):
            return self._findings(Flaw.REMOVED, seq, "the row that has its number now had a higher one")
        if _sound(fields):
            what = f"row {seq} was written after another row than the one that stands before it now"
            return self._findings(Flaw.CHANGED, self._last, what)
        return self._unsound(fields)

    def _unsound(self, fields: Mapping[str, Any]) -> Findings:
        seq = fields["seq"]
        if self._seq_where((JOURNAL.c.seq > seq) & (JOURNAL.c.prev_hash == self._before)) is not None:
            return self._findings(Flaw.INSERTED, seq, f"a later row follows row {self._last} by its hash")
        return self._findings(Flaw.CHANGED, seq, "its content is not what its hash stands for")

    def _flaw_of_the_end(self) -> Findings | None:
        end = self._end
        if self._last < end.seq:
            return self._findings(
                Flaw.REMOVED, self._last + 1, f"the journal was written up to row {end.seq}"
            )
        if end.newest > end.seq:
            return self._findings(
                Flaw.INSERTED, end.seq + 1, f"the journal was written up to row {end.seq} only"
            )
        if self._before != end.last_hash:
            return self._findings(
                Flaw.CHANGED, self._last, "its hash is not the one that was noted when it was written"
            )
        return None

    def _seq_where(self, condition: Any) -> int | None:
        found = select(func.min(JOURNAL.c.seq)).where(condition)
        with self._store.read() as connection:
            return connection.execute(found).scalar()


def _sound(fields: Mapping[str, Any]) -> bool:
    """Tell whether a row's hashes are those of its content."""
    payload = fields["payload"]
    try:
        text = None if payload is None else payload.encode()
        if text is not None and hashlib.sha256(text).hexdigest() != fields["payload_hash"]:
            return False
        return bool(hash_of(fields) == fields["row_hash"])
    except (ValueError, TypeError, AttributeError):  # a database without types may hold anything there
        return False


class _Comparison:
    """Adds to what the chain says what the copies say.

    Args:
        ours: sources whose messages must be this journal's.
    """

    def __init__(self, store: Store, end: _End, ours: AbstractSet[str]) -> None:
        self._store, self._ours = store, ours
        self._bounds = comparable(end.epoch, end.epochs, end.beginnings)
        self._compared = self._foreign = self._behind = 0

    def run(self, copies: Iterable[Copy], chain: Findings) -> Findings:
        """Return both; the earlier wrong row stands."""
        left, first = iter(copies), None
        while part := list(islice(left, COPIES_AT_A_TIME)):
            flaws = [*self._flaws(part), *([first] if first else [])]
            first = min(flaws, key=lambda one: one.seq or 0, default=None)
        found = replace(chain, copies=self._compared, foreign=self._foreign, left_behind=self._behind)
        if first is None or (chain.seq is not None and chain.seq <= (first.seq or 0)):
            return found
        return replace(found, flaw=first.flaw, seq=first.seq, problem=first.problem)

    def _flaws(self, part: Sequence[Copy]) -> list[Findings]:
        ours, found = [], []
        for copy in part:
            if copy.journalepoch not in self._bounds:
                self._foreign += copy.source not in self._ours
                found += [_replaced(copy)] if copy.source in self._ours else []
                continue
            bound = self._bounds[copy.journalepoch]
            if bound is not None and copy.journalseq > bound:
                self._behind += 1
            else:
                ours.append(copy)
        self._compared += len(ours)
        return found + _differing(self._store, ours)


def _replaced(copy: Copy) -> Findings:
    what = (
        f"the case system holds {copy.id} from {copy.source} with epoch {copy.journalepoch}, and no row here says that this "
        "journal goes on from that epoch: it is another journal, or it was rewritten together with its epoch"
    )
    return Findings(flaw=Flaw.REPLACED, seq=copy.journalseq, problem=what)


def _differing(store: Store, copies: Sequence[Copy]) -> list[Findings]:
    """Return a flaw for each copy that does not say what its row says."""
    if not copies:
        return []
    columns = (JOURNAL.c.seq, JOURNAL.c.message_id, JOURNAL.c.row_hash)
    wanted = select(*columns).where(JOURNAL.c.seq.in_({copy.journalseq for copy in copies}))
    with store.read() as connection:
        rows = {row.seq: row for row in connection.execute(wanted)}
    found = []
    for copy in copies:
        row, seq = rows.get(copy.journalseq), copy.journalseq
        if row is None:
            found.append(
                Findings(flaw=Flaw.REMOVED, seq=seq, problem=f"the case system holds it as {copy.id}")
            )
        elif (row.message_id, row.row_hash) != (copy.id, copy.journalhash):
            what = f"the case system holds {copy.id} with another hash: the chain was rewritten from here or before"
            found.append(Findings(flaw=Flaw.CHANGED, seq=seq, problem=what))
    return found
