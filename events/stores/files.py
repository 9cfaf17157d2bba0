# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is asked of the table of evidence: which files there are, whose they are, and which are gone. Decides nothing."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, and_, or_, select, update

from events.stores.schema import EVIDENCE, INCIDENTS
from events.times import parse_utc, utc_text

NAMES_MAX = 500  # of hashes in one question: every database bounds the parameters of a statement

Place = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class FileRow:
    """One file of one incident, which is there as far as the rows know.

    Attributes:
        bytes: its size; None where it was stored by an earlier version.
        stored_at: as the table has it, UTC.
        decision, case_state, run_mode: of the incident now.
    """

    incident_id: str
    sha256: str
    suffix: str
    bytes: int | None
    stored_at: str
    decision: str
    case_state: str
    run_mode: str

    @property
    def place(self) -> Place:
        """Where it stands in the order of `stored_until`."""
        return self.stored_at, self.incident_id, self.sha256


_COLUMNS = (
    EVIDENCE.c.incident_id,
    EVIDENCE.c.sha256,
    EVIDENCE.c.suffix,
    EVIDENCE.c.bytes,
    EVIDENCE.c.stored_at,
    INCIDENTS.c.decision,
    INCIDENTS.c.case_state,
    INCIDENTS.c.run_mode,
)
_FILES = select(*_COLUMNS).join(INCIDENTS, INCIDENTS.c.incident_id == EVIDENCE.c.incident_id)
# `deleted_at` is always null there; named first, the index brings the order and PostgreSQL sorts only equal times.
_ORDER = (EVIDENCE.c.deleted_at, EVIDENCE.c.stored_at, EVIDENCE.c.incident_id, EVIDENCE.c.sha256)
_THERE = EVIDENCE.c.deleted_at.is_(None)


def stored_until(connection: Connection, until: datetime, after: Place | None, limit: int) -> list[FileRow]:
    """Return at most `limit` files stored until `until` that are there, the oldest first, from the place `after` on."""
    found = _FILES.where(_THERE, EVIDENCE.c.stored_at <= utc_text(until))
    if after is not None:
        at, incident_id, sha256 = after
        found = found.where(
            EVIDENCE.c.stored_at >= at,
            or_(
                EVIDENCE.c.stored_at > at,
                EVIDENCE.c.incident_id > incident_id,
                and_(EVIDENCE.c.incident_id == incident_id, EVIDENCE.c.sha256 > sha256),
            ),
        )
    return [FileRow(*row) for row in connection.execute(found.order_by(*_ORDER).limit(limit))]


def needed(connection: Connection, hashes: Sequence[str], decision: str, held: Collection[str]) -> set[str]:
    """Return which of `hashes` (at most `NAMES_MAX`) an incident has whose decision is another, or whose case is `held`."""
    found = (
        select(EVIDENCE.c.sha256)
        .join(INCIDENTS, INCIDENTS.c.incident_id == EVIDENCE.c.incident_id)
        .where(
            EVIDENCE.c.sha256.in_(hashes),
            _THERE,
            or_(INCIDENTS.c.decision != decision, INCIDENTS.c.case_state.in_(sorted(held))),
        )
    )
    return set(connection.execute(found).scalars())


def stored_at(connection: Connection, incident_id: str, sha256: str) -> datetime | None:
    """Return when an incident's file was stored, UTC; None where it is not there."""
    found = select(EVIDENCE.c.stored_at).where(
        _THERE, EVIDENCE.c.incident_id == incident_id, EVIDENCE.c.sha256 == sha256
    )
    at = connection.execute(found).scalar()
    return None if at is None else parse_utc(at)


def shared(connection: Connection, hashes: Sequence[str], but_not: str) -> set[str]:
    """Return which of `hashes` (at most `NAMES_MAX`) an incident other than `but_not` names, and has."""
    found = select(EVIDENCE.c.sha256).where(
        EVIDENCE.c.sha256.in_(hashes), _THERE, EVIDENCE.c.incident_id != but_not
    )
    return set(connection.execute(found).scalars())


def named(connection: Connection, hashes: Sequence[str]) -> set[str]:
    """Return which of `hashes` (at most `NAMES_MAX`) any incident has."""
    found = select(EVIDENCE.c.sha256).where(EVIDENCE.c.sha256.in_(hashes), _THERE)
    return set(connection.execute(found).scalars())


def mark_deleted(
    connection: Connection, incident_id: str, hashes: Sequence[str], at: datetime, why: str
) -> None:
    """Note that an incident's files (at most `NAMES_MAX`) are gone since `at`."""
    gone = update(EVIDENCE).where(EVIDENCE.c.incident_id == incident_id, EVIDENCE.c.sha256.in_(hashes))
    connection.execute(gone.where(_THERE).values(deleted_at=utc_text(at), deleted_why=why))
