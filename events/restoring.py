# SPDX-License-Identifier: AGPL-3.0-or-later
"""Restores a backup into an empty store, so that whoever reads the stream sees one gridwatch that goes on.

Everything is done on a copy beside the store: the chain is verified, what the stream knows better is adopted, a new epoch
begins. Only then the store takes all of it, in one transaction. A restore that fails anywhere changed nothing.

What was recorded after the backup is lost, except as far as the stream tells it. So that nothing told is told again in
other words, rows and revisions go on above all that may have been told, by a margin: over HTTP messages can be read
before the stream has them.
"""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from events.adopting import adopted
from events.archive import DATABASE, EVIDENCE_NAME, Archive, copy_for_owner, extract, opened, workplace
from events.audit import Copy, verify
from events.errors import BackupDamaged
from events.evidence import CLEAN, MASKED
from events.incident import Incident
from events.journal import Epoch, storable
from events.lineage import RESTORED
from events.queues.port import CaseQueue
from events.reading import AlertReader
from events.report import Report
from events.shown import Shown, entries, held_until, incident_of, look
from events.stores import backing
from events.stores.backing import Contents, Progress
from events.stores.sql import Store
from events.stores.writing import Entry, Writer
from events.tokens import TokenBook
from gridwatch.core.clock import Clock
from gridwatch.core.errors import InputError

ACTOR = "operator:restore"
ADOPTED = "adopted"
ADOPTED_A_TRANSACTION = 500
TOLD_CHARS = 200


@dataclass(frozen=True, slots=True)
class Margin:
    """By how much rows and revisions jump."""

    rows: int
    revisions: int


BESIDE_THE_STREAM = Margin(rows=1_000_000, revisions=1_000)
UNSEEN_STREAM = Margin(rows=1_000_000_000, revisions=100_000)  # nobody can say what was told since


@dataclass(frozen=True, slots=True)
class RestoreTarget:
    """Where a backup goes: an open, empty store, its folder of evidence, a folder for scratch, and who it is."""

    store: Store
    evidence: Path
    scratch: Path
    source: str


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What a restore did.

    Attributes:
        contents: of the store now.
        backed_up: of the backup.
        epoch: the new one.
        adopted: incidents that the backup did not know, taken from the stream.
        updated: incidents that the backup knew less of than the stream.
        unreadable: messages that were to be adopted and cannot be read.
        trimmed: whether the stream may have lost messages since the backup.
        evidence: files put into place; `damaged` are those that are not what their name says, and were left out.
        tokens: that the backup holds. All of them admit nobody now; `tokens_ended` is how many were not revoked in it.
    """

    contents: Contents
    backed_up: Contents
    epoch: Epoch
    adopted: int
    updated: int
    unreadable: int
    trimmed: bool
    evidence: int
    damaged: int
    tokens: int
    tokens_ended: int


class Restore:
    """Restores a backup.

    Args:
        target: where to; nothing else may write there.
        queue: whose stream tells what was said since; None where it is away.
        follow: epochs that the stream shows and the backup does not know, and whose stores are gone.
    """

    def __init__(
        self,
        target: RestoreTarget,
        queue: CaseQueue | None,
        clock: Clock,
        *,
        follow: Sequence[str] = (),
        progress: Progress = backing.silent,
    ) -> None:
        self._target, self._queue, self._clock = target, queue, clock
        self._follow, self._progress = tuple(follow), progress
        self._margin = UNSEEN_STREAM if queue is None else BESIDE_THE_STREAM

    def run(self, place: Path) -> RestoreReport:
        """Restore the backup `place`, folder or file. Open the store anew afterwards: its epoch is another.

        Raises:
            InputError: the store is not empty, there is no such backup, or the stream shows another store's messages.
            BackupError: the backup is damaged, or cannot be read or written.
            StoreError: the database does not answer.
            QueueError: the queue does not answer.
        """
        with self._target.store.read() as connection:
            backing.refuse_unless_empty(connection)
        busy = f"another restore works in {self._target.scratch}"
        with opened(place) as archive, workplace(self._target.scratch / ".restoring", busy) as folder:
            work = folder / DATABASE
            extract(archive, DATABASE, work)
            with Store.open(f"sqlite:///{work}") as copy:
                return self._into_store(archive, copy)

    def _into_store(self, archive: Archive, copy: Store) -> RestoreReport:
        with copy.read() as connection:
            backed_up = backing.contents(connection)
        held = held_until(AlertReader(copy).epochs(), backed_up.last_seq)
        shown = self._look(held)
        _accept(copy, _copies(self._queue, held) if self._queue else (), self._progress)
        evidence, damaged = self._put_evidence(archive)
        added = _new_epochs(backed_up, shown, self._margin)
        self._go_on(copy, added, backed_up, shown)
        adopted_count, updated, unreadable = self._adopt(copy, shown)
        # Which of them were revoked since the backup nobody can say: the store is guarded, and everybody needs a new one.
        tokens = TokenBook(copy, self._clock)
        tokens_ended = tokens.revoke_all()
        if self._queue is not None:
            self._queue.reread_replies()  # before the store is there: twice does no harm, never would
        backing.load(self._target.store, copy, self._progress)
        with copy.read() as connection:
            now = backing.contents(connection)
        return RestoreReport(
            contents=now,
            backed_up=backed_up,
            epoch=added[-1],
            adopted=adopted_count,
            updated=updated,
            unreadable=unreadable,
            trimmed=shown.trimmed,
            evidence=evidence,
            damaged=damaged,
            tokens=len(tokens.all()),
            tokens_ended=tokens_ended,
        )

    def _look(self, held: Mapping[str, int]) -> Shown:
        if self._queue is None:
            return Shown()
        shown = look(self._queue, self._target.source, held)
        if strangers := [epoch for epoch in shown.unknown if epoch not in self._follow]:
            raise InputError(
                f"the stream holds messages of {self._target.source} from a store that this backup does not know "
                f"(epoch {', '.join(strangers)}); if that store is gone for good, restore with "
                + " ".join(f"--follow {epoch}" for epoch in strangers)
            )
        return shown

    def _go_on(self, copy: Store, added: Sequence[Epoch], backed_up: Contents, shown: Shown) -> None:
        """Begin the new epoch, with a row that says so."""
        now, newest = self._clock.now(), added[-1]
        with copy.write() as tx:
            backing.begin_epochs(tx, added, now, raised_by=self._margin.revisions)
        payload = {
            "epoch": newest.epoch,
            "follows": newest.follows,
            "followed_until": newest.followed_until,
            "backed_up_epoch": backed_up.epoch,
            "stream_until": shown.top_seq,
            "revisions_raised_by": self._margin.revisions,
        }
        with copy.write() as tx:
            tx.append(Entry(incident_id="", revision=0, kind=RESTORED, actor=ACTOR, at=now, payload=payload))

    def _adopt(self, copy: Store, shown: Shown) -> tuple[int, int, int]:
        """Take from the stream what it knows better; return how many incidents are new, updated, unreadable."""
        new = updated = unreadable = done = 0
        for part in _parts(self._newest(shown)):
            with copy.write() as tx:
                for incident_id, fields in part:
                    done += 1
                    self._progress("stream", done, len(shown.newest))
                    before, revision = tx.incident(incident_id), shown.newest[incident_id].revision
                    if before is not None and before.queued_revision >= revision:
                        continue  # told in an epoch that this one goes on from, and known since
                    after = _incident_of(fields, before, revision, revision + self._margin.revisions)
                    if after is None:
                        unreadable += 1
                        continue
                    self._write(tx, before, after, fields)
                    new, updated = new + (before is None), updated + (before is not None)
        return new, updated, unreadable

    def _newest(self, shown: Shown) -> Iterator[tuple[str, Mapping[str, str]]]:
        if self._queue is None or not shown.newest:
            return
        for entry in entries(self._queue):
            incident_id = incident_of(entry)
            newest = shown.newest.get(incident_id)
            if newest is not None and newest.entry_id == entry.entry_id:
                yield incident_id, entry.fields

    def _write(self, tx: Writer, before: Incident | None, after: Incident, fields: Mapping[str, str]) -> None:
        now, alert = self._clock.now(), after.alert
        payload = {
            "facts": dict(alert.facts),
            "told": {
                name: storable(fields.get(name, ""))[:TOLD_CHARS]
                for name in ("id", "journalepoch", "journalseq", "journalhash")
            },
        }
        tx.append(
            Entry(
                incident_id=alert.id,
                revision=alert.revision,
                kind=ADOPTED,
                actor=ACTOR,
                at=now,
                payload=payload,
            )
        )
        tx.save(after, new=before is None)
        tx.note_evidence(alert.id, self._only_masked(after), now)

    def _only_masked(self, incident: Incident) -> list[tuple[str, str, int]]:
        """Return the files of stills whose clean picture is not known; the masked one takes its place."""
        found = []
        for still in incident.stills:
            masked = _place(self._target.evidence, still.masked_sha256, MASKED)
            if still.sha256 == still.masked_sha256 and masked.is_file():
                clean = _place(self._target.evidence, still.sha256, CLEAN)
                if not clean.exists():
                    copy_for_owner(masked, clean)
                found.append((still.masked_sha256, MASKED, masked.stat().st_size))
        return found

    def _put_evidence(self, archive: Archive) -> tuple[int, int]:
        """Put the evidence into place; return how many files, and how many are damaged and were left out."""
        names = [name for name in archive.sums if EVIDENCE_NAME.fullmatch(name)]
        put = damaged = 0
        for number, name in enumerate(names, 1):
            _, shard, file = name.split("/")
            try:
                put += extract(archive, name, self._target.evidence / shard / file)
            except BackupDamaged:
                damaged += 1
            self._progress("evidence", number, len(names))
        return put, damaged


def _new_epochs(backed_up: Contents, shown: Shown, margin: Margin) -> list[Epoch]:
    """Return the epochs to be added: those of the stream that the backup did not know, and the new one."""
    added, before = [], backed_up.epoch
    for epoch, first_seq in shown.unknown.items():
        added.append(Epoch(epoch, first_seq, before, backed_up.last_seq))
        before = epoch
    first_seq = max(backed_up.last_seq, shown.top_seq) + margin.rows + 1
    return [*added, Epoch(secrets.token_hex(8), first_seq, before, backed_up.last_seq)]


def _incident_of(
    fields: Mapping[str, str], before: Incident | None, revision: int, floor: int
) -> Incident | None:
    """Return the incident that a message tells of; None where it cannot be read and the backup does not know it either."""
    try:
        report = Report.model_validate_json(fields.get("data", ""))
        if f"{report.incident_id}:{report.revision}" == fields.get("id") and _fits(report):
            return adopted(report, before, floor)
    except (ValueError, KeyError):
        pass  # as below
    if before is None:
        return None
    alert = replace(before.alert, revision=max(floor, before.alert.revision))
    return replace(before, alert=alert, queued_revision=max(revision, before.queued_revision))


def _fits(report: Report) -> bool:
    """Tell whether the store can hold what a message names: the stream is shared, and anybody may write to it."""
    names = {report.incident_id: 64, report.camera_id: 128}
    return all(0 < len(name) <= most and storable(name) == name for name, most in names.items())


def _accept(copy: Store, copies: Iterable[Copy], progress: Progress) -> None:
    findings = verify(copy, copies, lambda done, total: progress("journal", done, total))
    if findings:
        raise BackupDamaged(f"the backup's journal is not what was recorded: {findings}")


def _copies(queue: CaseQueue, held: Mapping[str, int]) -> Iterator[Copy]:
    """Yield what the stream holds of the rows that the backup holds too."""
    for entry in entries(queue):
        copy = Copy.of(entry.fields)
        if copy is not None and copy.journalseq <= held.get(copy.journalepoch, -1):
            yield copy


def _parts(
    pairs: Iterable[tuple[str, Mapping[str, str]]],
) -> Iterator[list[tuple[str, Mapping[str, str]]]]:
    """Cut into lists that a transaction may hold."""
    part: list[tuple[str, Mapping[str, str]]] = []
    for pair in pairs:
        part.append(pair)
        if len(part) == ADOPTED_A_TRANSACTION:
            yield part
            part = []
    if part:
        yield part


def _place(folder: Path, sha256: str, suffix: str) -> Path:
    return folder / sha256[:2] / (sha256 + suffix)
