# SPDX-License-Identifier: AGPL-3.0-or-later
"""One write transaction: hands out journal rows in order, chains their hashes, and keeps the projections beside them."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, update

from events.alerts import Activity
from events.incident import Incident, IncidentCodec
from events.journal import Row, canonical, chain_hash
from events.stores.queries import incident_by_id, incidents_of_camera, latest_incident
from events.stores.schema import COUNTER, EVIDENCE, INCIDENTS, JOURNAL, REPLIES, TALLIED, TALLIES, THE_COUNTER
from events.times import utc_text
from gridwatch.core.zone import Kind

# Made once: building and compiling a statement costs more than running it.
_LOCK = select(COUNTER.c.seq, COUNTER.c.last_hash).where(COUNTER.c.id == THE_COUNTER).with_for_update()
_MOVE = update(COUNTER).where(COUNTER.c.id == THE_COUNTER)
_APPEND, _OPEN = insert(JOURNAL), insert(INCIDENTS)
_CHANGE = update(INCIDENTS).where(INCIDENTS.c.incident_id == bindparam("which"))
_TALLIED = select(*(INCIDENTS.c[name] for name in TALLIED)).where(
    INCIDENTS.c.incident_id == bindparam("which")
)
_TALLIES = select(TALLIES.c.field, TALLIES.c.value)  # a few dozen rows
_TALLY = (
    update(TALLIES)
    .where(TALLIES.c.field == bindparam("which"), TALLIES.c.value == bindparam("held"))
    .values(count=TALLIES.c.count + bindparam("change"))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A row to be written: what `Row` holds and the transaction does not know by itself."""

    incident_id: str
    revision: int
    kind: str
    actor: str
    at: datetime
    payload: Mapping[str, Any]
    message_id: str | None = None


class Writer:
    """The write transaction in progress. Made by `Store.write`, which commits it."""

    def __init__(self, connection: Connection, codec: IncidentCodec) -> None:
        self._connection, self._codec = connection, codec
        self._seq, self._last_hash = connection.execute(_LOCK).one()
        self._first = self._seq
        self._counted: Counter[tuple[str, str]] = Counter()

    @property
    def connection(self) -> Connection:
        """The transaction's connection: for statements of this room's own query files, never for the journal."""
        return self._connection

    def finish(self) -> None:
        """Move the counter to the last row written, and the tallies by what changed."""
        moved = {held: change for held, change in self._counted.items() if change}
        if moved:
            self._tally(moved)
        if self._seq != self._first:
            self._connection.execute(_MOVE, {"seq": self._seq, "last_hash": self._last_hash})

    def append(self, entry: Entry) -> Row:
        """Write the next row of the journal and return it."""
        text = canonical(dict(entry.payload))
        row = Row(
            seq=self._seq + 1,
            incident_id=entry.incident_id,
            revision=entry.revision,
            kind=entry.kind,
            actor=entry.actor,
            at=entry.at,
            payload=entry.payload,
            payload_hash=hashlib.sha256(text).hexdigest(),
            prev_hash=self._last_hash,
            row_hash="",
            message_id=entry.message_id,
        )
        row = replace(row, row_hash=chain_hash(row))
        values = {name: getattr(row, name) for name in Row.__dataclass_fields__}
        values |= {"at": utc_text(row.at), "payload": text.decode()}
        self._connection.execute(_APPEND, values)
        self._seq, self._last_hash = row.seq, row.row_hash
        return row

    def save(self, incident: Incident, *, new: bool = False) -> None:
        """Write what an incident is now."""
        alert = incident.alert
        values = {
            "incident_id": alert.id,
            "revision": alert.revision,
            "kind": alert.kind.value,
            "subtype": alert.subtype,
            "camera_id": alert.camera_id,
            "run_mode": alert.run_mode,
            "activity": alert.activity.value,
            "decision": alert.decision.value,
            "case_state": alert.case.value,
            "clip_state": alert.clip.state,
            "opened_at": utc_text(alert.opened_at),
            "ended_at": utc_text(alert.ended_at) if alert.ended_at else None,
            "state": self._codec.encode(incident),
        }
        self._count(alert.id, values, new=new)
        if new:
            self._connection.execute(_OPEN, values)
        else:
            self._connection.execute(_CHANGE, {**values, "which": alert.id})

    def incident(self, incident_id: str) -> Incident | None:
        """Return an incident, or None."""
        return incident_by_id(self._connection, self._codec, incident_id)

    def latest(self, camera_id: str, kind: Kind, subtype: str, run_mode: str) -> Incident | None:
        """Return the incident of this place and run mode that may be joined, else the one opened last, or None."""
        return latest_incident(self._connection, self._codec, camera_id, kind, subtype, run_mode)

    def of_camera(self, camera_id: str | None, activity: Activity) -> list[Incident]:
        """Return every incident with this activity: of one camera, or (None) of all."""
        return incidents_of_camera(self._connection, self._codec, camera_id, activity)

    def with_pending_clip(self) -> list[Incident]:
        """Return every incident whose clip is still expected."""
        found = select(INCIDENTS.c.state).where(INCIDENTS.c.clip_state == "pending")
        return [self._codec.decode(state) for state in self._connection.execute(found).scalars()]

    def case_reply_hash(self, source: str, case_id: str, case_revision: int) -> str | None:
        """Return the content hash of the reply that has this case revision, or None."""
        known = select(REPLIES.c.content_hash).where(
            REPLIES.c.source == source, REPLIES.c.case_id == case_id, REPLIES.c.case_revision == case_revision
        )
        return self._connection.execute(known).scalar()

    def note_reply(
        self, seq: int, source: str, reply_id: str, content_hash: str, case: tuple[str, int] | None
    ) -> None:
        """Remember a reply, so that its next delivery is known; `case` is case id and case revision."""
        case_id, case_revision = case or (None, None)
        self._connection.execute(
            insert(REPLIES).values(
                source=source,
                reply_id=reply_id,
                case_id=case_id,
                case_revision=case_revision,
                content_hash=content_hash,
                seq=seq,
            )
        )

    def note_evidence(
        self, incident_id: str, files: Iterable[tuple[str, str, int | None]], at: datetime
    ) -> None:
        """List stored files as an incident's, so that retention finds them; one that was deleted is there again.

        Args:
            files: SHA-256, suffix (`.jpg`, `.masked.jpg`, `.mp4`) and size in bytes, where it is known.
            at: when they were stored, UTC.
        """
        stored_at = utc_text(at)
        for sha256, suffix, size in files:
            this = (EVIDENCE.c.incident_id == incident_id) & (EVIDENCE.c.sha256 == sha256)
            known = self._connection.execute(select(EVIDENCE.c.deleted_at).where(this)).first()
            values = {"suffix": suffix, "bytes": size, "stored_at": stored_at}
            if known is None:
                values |= {"incident_id": incident_id, "sha256": sha256}
                self._connection.execute(insert(EVIDENCE).values(values))
            elif known.deleted_at is not None:
                again = values | {"deleted_at": None, "deleted_why": None}
                self._connection.execute(update(EVIDENCE).where(this).values(again))

    def _count(self, incident_id: str, values: Mapping[str, Any], *, new: bool) -> None:
        """Note what an incident leaves and enters; `finish` writes it."""
        if not new:
            before = self._connection.execute(_TALLIED, {"which": incident_id}).mappings().first()
            if before is None:  # the update that follows finds nothing either
                return
            self._counted.subtract((name, before[name]) for name in TALLIED)
        self._counted.update((name, values[name]) for name in TALLIED)

    def _tally(self, moved: Mapping[tuple[str, str], int]) -> None:
        known = {(field, value) for field, value in self._connection.execute(_TALLIES)}
        new = [
            {"field": field, "value": value, "count": change}
            for (field, value), change in moved.items()
            if (field, value) not in known
        ]
        old = [
            {"which": field, "held": value, "change": change}
            for (field, value), change in moved.items()
            if (field, value) in known
        ]
        if new:
            self._connection.execute(insert(TALLIES), new)
        if old:
            self._connection.execute(_TALLY, old)
