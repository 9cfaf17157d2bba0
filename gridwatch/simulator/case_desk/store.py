# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case desk's own memory: one SQLite file, written in short exclusive transactions.

Several desks of one group share it. Replies wait here until Redis has taken them, and they are taken while the file's
write lock is held, so their order in the stream is the order in which they were decided. No rules here: see `book`.
"""

import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from gridwatch.core.errors import InputError
from gridwatch.simulator.case_desk.errors import CaseBookError
from gridwatch.simulator.case_desk.wire import IncidentMessage, Unit

STATE_VERSION = 1
LOCK_WAIT_S = 30.0
_TABLES = """
CREATE TABLE files (
  case_id TEXT PRIMARY KEY, source TEXT NOT NULL, incident_id TEXT NOT NULL,
  revision INTEGER NOT NULL, case_revision INTEGER NOT NULL, state TEXT NOT NULL, was_accepted INTEGER NOT NULL,
  title TEXT NOT NULL, lead TEXT, assist TEXT, answers TEXT, plan TEXT NOT NULL, due_at REAL,
  UNIQUE (source, incident_id));
CREATE INDEX files_due ON files (due_at) WHERE due_at IS NOT NULL;
CREATE TABLE messages (
  source TEXT NOT NULL, message_id TEXT NOT NULL, sha256 TEXT NOT NULL, case_id TEXT NOT NULL, revision INTEGER NOT NULL,
  previous INTEGER NOT NULL, type TEXT NOT NULL, held_data TEXT, held_until REAL,
  PRIMARY KEY (source, message_id));
CREATE INDEX messages_held ON messages (held_until) WHERE held_until IS NOT NULL;
CREATE INDEX messages_of_case ON messages (case_id, revision);
CREATE TABLE replies (seq INTEGER PRIMARY KEY AUTOINCREMENT, fields TEXT NOT NULL);
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counters VALUES ('case', 0);
"""


@dataclass(slots=True)
class CaseFile:
    """What the desk knows of one incident. It is a case once it was accepted.

    Attributes:
        revision: of the last message that took effect, 0 before the first.
        case_revision: of the last reply.
        state: registered, or the word of the last step.
        answers: the message that opened the case, while `accepted` has not been said yet.
        plan: the steps still to come, each a (word, role) pair; role is None where no unit acts.
        due_at: when the first of them is due, seconds of the epoch; None if none.
    """

    case_id: str
    source: str
    incident_id: str
    title: str
    revision: int = 0
    case_revision: int = 0
    state: str = "registered"
    was_accepted: bool = False
    lead: Unit | None = None
    assist: Unit | None = None
    answers: str | None = None
    plan: list[tuple[str, str | None]] = field(default_factory=list)
    due_at: float | None = None


class CaseStore:
    """The state file. One thread uses one instance; open it with `with`, which raises InputError if it cannot be used."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def __enter__(self) -> Self:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(self._path, timeout=LOCK_WAIT_S, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            with self.transaction():
                self._prepare_tables()
        except (OSError, sqlite3.Error, CaseBookError) as error:
            self._close()
            raise InputError(f"cannot be used as the case desk's state: {error}", file=self._path) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Hold the file's write lock; commit at the end, roll back on any error."""
        self._sql("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._sql("ROLLBACK")
            raise
        self._sql("COMMIT")

    def file_of(self, source: str, incident_id: str) -> CaseFile | None:
        """Return the file of an incident, if it has one."""
        row = self._sql(
            "SELECT * FROM files WHERE source = ? AND incident_id = ?", source, incident_id
        ).fetchone()
        return None if row is None else _file(row)

    def file(self, case_id: str) -> CaseFile:
        """Return a file that exists."""
        return _file(self._sql("SELECT * FROM files WHERE case_id = ?", case_id).fetchone())

    def next_number(self) -> int:
        """Return the next number for a new file."""
        row = self._sql(
            "UPDATE counters SET value = value + 1 WHERE name = 'case' RETURNING value"
        ).fetchone()
        return int(row[0])

    def save(self, file: CaseFile) -> None:
        """Write a file, new or changed."""
        self._sql(
            "INSERT OR REPLACE INTO files (case_id, source, incident_id, revision, case_revision, state, was_accepted,"
            " title, lead, assist, answers, plan, due_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            file.case_id,
            file.source,
            file.incident_id,
            file.revision,
            file.case_revision,
            file.state,
            file.was_accepted,
            file.title,
            _unit_text(file.lead),
            _unit_text(file.assist),
            file.answers,
            json.dumps(file.plan),
            file.due_at,
        )

    def due_files(self, now: float) -> list[CaseFile]:
        """Return the files whose next step is due, the longest due first."""
        rows = self._sql("SELECT * FROM files WHERE due_at <= ? ORDER BY due_at, case_id LIMIT 100", now)
        return [_file(row) for row in rows]

    def seen_sha256(self, message: IncidentMessage) -> str | None:
        """Return the hash under which this message was seen before, or None."""
        row = self._sql(
            "SELECT sha256 FROM messages WHERE source = ? AND message_id = ?",
            message.source,
            message.message_id,
        ).fetchone()
        return None if row is None else str(row[0])

    def remember(self, message: IncidentMessage, case_id: str, held_until: float | None = None) -> None:
        """Note a message as seen; with `held_until` keep it whole, because it cannot take effect yet."""
        self._sql(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            message.source,
            message.message_id,
            message.sha256,
            case_id,
            message.revision,
            message.previous,
            message.type,
            None if held_until is None else json.dumps(message.data),
            held_until,
        )

    def held_messages(self, file: CaseFile) -> list[IncidentMessage]:
        """Return the messages of an incident that wait for an earlier one, lowest revision first."""
        rows = self._sql(
            "SELECT * FROM messages WHERE case_id = ? AND held_until IS NOT NULL ORDER BY revision",
            file.case_id,
        )
        return [_message(row, file.incident_id) for row in rows]

    def overdue_held_cases(self, now: float) -> list[str]:
        """Return the cases that hold a message for which the earlier one was waited for long enough."""
        rows = self._sql("SELECT DISTINCT case_id FROM messages WHERE held_until <= ? LIMIT 100", now)
        return [str(row[0]) for row in rows]

    def release(self, message: IncidentMessage) -> None:
        """Note that a held message has taken effect."""
        self._sql(
            "UPDATE messages SET held_data = NULL, held_until = NULL WHERE source = ? AND message_id = ?",
            message.source,
            message.message_id,
        )

    def next_due_at(self) -> float | None:
        """Return when the next planned step or the next end of a wait is due, seconds of the epoch."""
        row = self._sql(
            "SELECT min(t) FROM (SELECT min(due_at) AS t FROM files UNION SELECT min(held_until) FROM messages)"
        ).fetchone()
        return None if row[0] is None else float(row[0])

    def queue_reply(self, fields: Mapping[str, str]) -> None:
        """Put a reply in line for the stream; its bytes never change again."""
        self._sql("INSERT INTO replies (fields) VALUES (?)", json.dumps(dict(fields)))

    def has_replies(self) -> bool:
        """Tell whether replies wait for the stream."""
        return self._sql("SELECT 1 FROM replies LIMIT 1").fetchone() is not None

    def send_replies(self, send: Callable[[Sequence[dict[str, str]]], None]) -> int:
        """Give the oldest waiting replies to `send` in order and forget them if it returns; return how many.

        A crash between the two sends them again: the reader knows them by case id and case revision.
        """
        with self.transaction():
            rows = self._sql("SELECT seq, fields FROM replies ORDER BY seq LIMIT 100").fetchall()
            if rows:
                send([json.loads(row["fields"]) for row in rows])
                self._sql("DELETE FROM replies WHERE seq <= ?", rows[-1]["seq"])
        return len(rows)

    def forget_oldest(self, keep: int) -> None:
        """Drop the oldest seen messages, and files at rest without any, so that about `keep` messages stay."""
        with self.transaction():
            self._sql(
                "DELETE FROM messages WHERE held_until IS NULL AND rowid <="
                " (SELECT coalesce(max(rowid), 0) FROM messages) - ?",
                keep,
            )
            self._sql(
                "DELETE FROM files WHERE due_at IS NULL AND case_id NOT IN (SELECT case_id FROM messages)"
            )

    def _prepare_tables(self) -> None:
        version = self._sql("PRAGMA user_version").fetchone()[0]
        if version == 0:
            for statement in _TABLES.split(";\n"):
                self._sql(statement)
            self._sql(f"PRAGMA user_version = {STATE_VERSION}")
        elif version != STATE_VERSION:
            raise CaseBookError(f"it is of version {version}, this desk reads version {STATE_VERSION}")

    def _sql(self, statement: str, *values: object) -> sqlite3.Cursor:
        if self._connection is None:
            raise CaseBookError("the case desk's state file is not open")
        try:
            return self._connection.execute(statement, values)
        except sqlite3.Error as error:
            raise CaseBookError(str(error)) from error

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _unit_text(unit: Unit | None) -> str | None:
    return None if unit is None else json.dumps([unit.code, unit.name])


def _unit(text: str | None) -> Unit | None:
    return None if text is None else Unit(*json.loads(text))


def _file(row: sqlite3.Row) -> CaseFile:
    return CaseFile(
        case_id=row["case_id"],
        source=row["source"],
        incident_id=row["incident_id"],
        title=row["title"],
        revision=row["revision"],
        case_revision=row["case_revision"],
        state=row["state"],
        was_accepted=bool(row["was_accepted"]),
        lead=_unit(row["lead"]),
        assist=_unit(row["assist"]),
        answers=row["answers"],
        plan=[(word, role) for word, role in json.loads(row["plan"])],
        due_at=row["due_at"],
    )


def _message(row: sqlite3.Row, incident_id: str) -> IncidentMessage:
    return IncidentMessage(
        message_id=row["message_id"],
        source=row["source"],
        type=row["type"],
        incident_id=incident_id,
        revision=row["revision"],
        previous=row["previous"],
        sha256=row["sha256"],
        data=json.loads(row["held_data"]),
    )
