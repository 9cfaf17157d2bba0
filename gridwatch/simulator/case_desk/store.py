# SPDX-License-Identifier: AGPL-3.0-or-later
"""The case desk's own memory: one SQLite file, written in short exclusive transactions.

Several desks of one group share it, and whoever gives orders to the desk by hand writes them into it. Replies wait
here until the queue has taken them, and they are taken while the file's write lock is held, so their order in the
stream is the order in which they were decided. No rules here: see `book`.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from gridwatch.core.errors import InputError
from gridwatch.simulator.case_desk.errors import CaseBookError
from gridwatch.simulator.case_desk.plan import Step
from gridwatch.simulator.case_desk.tables import STATE_VERSION, prepare
from gridwatch.simulator.case_desk.wire import Assignment, IncidentMessage, Unit

LOCK_WAIT_S = 30.0
SWITCH_PAUSE_S = 0.02
SENT_AT_ONCE = 100


@dataclass(slots=True)
class CaseFile:
    """What the desk knows of one incident. It is a case once it was accepted.

    Attributes:
        file_id: the desk's own number.
        case_id: the same, or the case into which the incident was merged.
        revision: of the last message that took effect, 0 before the first.
        state: registered, or the word of the last step.
        confirmed: whether a confirmation stands, of gridwatch or of the desk's own screen.
        units: who takes part, the one that leads first.
        answers: the message that opened the case, while it was not answered yet.
        plan: the steps still to come.
        due_at: when the first of them is due, seconds of the epoch; None if none, or if it waits for a message.
        message: of the `data` of the last message that took effect what a later decision needs.
    """

    file_id: str
    case_id: str
    source: str
    incident_id: str
    title: str
    revision: int = 0
    state: str = "registered"
    was_accepted: bool = False
    confirmed: bool = False
    units: tuple[Assignment, ...] = ()
    answers: str | None = None
    plan: list[Step] = field(default_factory=list)
    due_at: float | None = None
    message: Mapping[str, object] = field(default_factory=dict)


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Switch to write-ahead logging. Of two who switch at once SQLite refuses one without waiting, so it is tried again."""
    ends_mono_s = time.monotonic() + LOCK_WAIT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError:
            if time.monotonic() > ends_mono_s:
                raise
            time.sleep(SWITCH_PAUSE_S)
        else:
            return


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
            _write_ahead(self._connection)
            self._connection.execute("PRAGMA synchronous = FULL")
            with self.transaction():
                version = prepare(self._connection)
                if version != STATE_VERSION:
                    raise CaseBookError(
                        f"it is of version {version}, this desk reads version {STATE_VERSION}"
                    )
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

    def file(self, file_id: str) -> CaseFile:
        """Return a file that exists."""
        return _file(self._sql("SELECT * FROM files WHERE file_id = ?", file_id).fetchone())

    def find(self, file_id: str) -> CaseFile | None:
        """Return a file, or None where it was forgotten."""
        row = self._sql("SELECT * FROM files WHERE file_id = ?", file_id).fetchone()
        return None if row is None else _file(row)

    def files_named(self, name: str) -> list[CaseFile]:
        """Return the files that a person may mean: by own number, case or incident."""
        rows = self._sql(
            "SELECT * FROM files WHERE file_id = ?1 OR case_id = ?1 OR incident_id = ?1 ORDER BY rowid LIMIT 100",
            name,
        )
        return [_file(row) for row in rows]

    def newest_files(self, limit: int) -> list[CaseFile]:
        """Return the files that came last, newest first."""
        return [_file(row) for row in self._sql("SELECT * FROM files ORDER BY file_id DESC LIMIT ?", limit)]

    def next_number(self) -> int:
        """Return the next number for a new file."""
        row = self._sql(
            "UPDATE counters SET value = value + 1 WHERE name = 'case' RETURNING value"
        ).fetchone()
        return int(row[0])

    def next_case_revision(self, case_id: str) -> int:
        """Return the number of the next reply about a case: 1, 2, 3 …; all incidents of the case share them."""
        row = self._sql(
            "INSERT INTO cases VALUES (?, 1) ON CONFLICT (case_id) DO UPDATE SET revision = revision + 1 RETURNING revision",
            case_id,
        ).fetchone()
        return int(row[0])

    def case_revision(self, case_id: str) -> int:
        """Return the number of the last reply about a case, 0 before the first."""
        row = self._sql("SELECT revision FROM cases WHERE case_id = ?", case_id).fetchone()
        return 0 if row is None else int(row[0])

    def save(self, file: CaseFile) -> None:
        """Write a file, new or changed."""
        self._sql(
            "INSERT OR REPLACE INTO files (file_id, case_id, source, incident_id, revision, state, was_accepted,"
            " confirmed, title, units, answers, plan, due_at, message)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            file.file_id,
            file.case_id,
            file.source,
            file.incident_id,
            file.revision,
            file.state,
            file.was_accepted,
            file.confirmed,
            file.title,
            json.dumps([[one.unit.code, one.unit.name, one.role] for one in file.units]),
            file.answers,
            json.dumps([step.document() for step in file.plan]),
            file.due_at,
            json.dumps(file.message),
        )

    def due_files(self, now: float) -> list[CaseFile]:
        """Return the files whose next step is due, the longest due first."""
        rows = self._sql("SELECT * FROM files WHERE due_at <= ? ORDER BY due_at, file_id LIMIT 100", now)
        return [_file(row) for row in rows]

    def seen_sha256(self, message: IncidentMessage) -> str | None:
        """Return the hash under which this message was seen before, or None."""
        row = self._sql(
            "SELECT sha256 FROM messages WHERE source = ? AND message_id = ?",
            message.source,
            message.message_id,
        ).fetchone()
        return None if row is None else str(row[0])

    def remember(self, message: IncidentMessage, file_id: str, held_until: float | None = None) -> None:
        """Note a message as seen; with `held_until` keep it whole, because it cannot take effect yet."""
        self._sql(
            "INSERT INTO messages VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            message.source,
            message.message_id,
            message.sha256,
            file_id,
            message.revision,
            message.previous,
            message.type,
            None if held_until is None else json.dumps(message.data),
            held_until,
        )

    def held_messages(self, file: CaseFile) -> list[IncidentMessage]:
        """Return the messages of an incident that wait for an earlier one, lowest revision first."""
        rows = self._sql(
            "SELECT * FROM messages WHERE file_id = ? AND held_until IS NOT NULL ORDER BY revision",
            file.file_id,
        )
        return [_message(row, file.incident_id) for row in rows]

    def overdue_held_files(self, now: float) -> list[str]:
        """Return the files that hold a message for which the earlier one was waited for long enough."""
        rows = self._sql("SELECT DISTINCT file_id FROM messages WHERE held_until <= ? LIMIT 100", now)
        return [str(row[0]) for row in rows]

    def release(self, message: IncidentMessage) -> None:
        """Note that a held message has taken effect."""
        self._sql(
            "UPDATE messages SET held_data = NULL, held_until = NULL WHERE source = ? AND message_id = ?",
            message.source,
            message.message_id,
        )

    def next_due_at(self) -> float | None:
        """Return when the next planned step, end of a wait or held reply is due, seconds of the epoch."""
        row = self._sql(
            "SELECT min(t) FROM (SELECT min(due_at) AS t FROM files UNION SELECT min(held_until) FROM messages"
            " UNION SELECT min(send_at) FROM replies)"
        ).fetchone()
        return None if row[0] is None else float(row[0])

    def queue_reply(self, fields: Mapping[str, str], send_at: float = 0.0) -> None:
        """Put a reply in line for the queue, not to be sent before `send_at`; its bytes never change again."""
        self._sql("INSERT INTO replies (fields, send_at) VALUES (?, ?)", json.dumps(dict(fields)), send_at)

    def has_replies(self, now: float) -> bool:
        """Tell whether replies wait for the queue."""
        return self._sql("SELECT 1 FROM replies WHERE send_at <= ? LIMIT 1", now).fetchone() is not None

    def send_replies(self, send: Callable[[Sequence[dict[str, str]]], None], now: float) -> int:
        """Give the oldest waiting replies to `send` in order and forget them if it returns; return how many.

        A crash between the two sends them again: the reader knows them by case id and case revision.
        """
        with self.transaction():
            rows = self._sql(
                "SELECT seq, fields FROM replies WHERE send_at <= ? ORDER BY seq LIMIT ?", now, SENT_AT_ONCE
            ).fetchall()
            if rows:
                send([json.loads(row["fields"]) for row in rows])
                for row in rows:
                    self._sql("DELETE FROM replies WHERE seq = ?", row["seq"])
        return len(rows)

    def give_order(self, file_id: str, step: Step) -> None:
        """Leave an order for the desk that works on this file."""
        self._sql("INSERT INTO orders (file_id, step) VALUES (?, ?)", file_id, json.dumps(step.document()))

    def waiting_orders(self) -> int:
        """Return how many orders wait."""
        return int(self._sql("SELECT count(*) FROM orders").fetchone()[0])

    def take_orders(self) -> list[tuple[str, Step]]:
        """Return the orders that wait, oldest first, each with its file's own number, and forget them."""
        rows = self._sql("SELECT * FROM orders ORDER BY seq LIMIT 100").fetchall()
        if rows:
            self._sql("DELETE FROM orders WHERE seq <= ?", rows[-1]["seq"])
        return [(row["file_id"], Step(**json.loads(row["step"]))) for row in rows]

    def place(self, name: str) -> str | None:
        """Return how far something was read, as it was noted under this name."""
        row = self._sql("SELECT value FROM places WHERE name = ?", name).fetchone()
        return None if row is None else str(row[0])

    def note_place(self, name: str, value: str) -> None:
        """Note how far something was read."""
        self._sql("INSERT OR REPLACE INTO places VALUES (?, ?)", name, value)

    def forget_oldest(self, keep: int) -> None:
        """Drop the oldest seen messages, and files at rest without any, so that about `keep` messages stay."""
        with self.transaction():
            self._sql(
                "DELETE FROM messages WHERE held_until IS NULL AND rowid <="
                " (SELECT coalesce(max(rowid), 0) FROM messages) - ?",
                keep,
            )
            self._sql(
                "DELETE FROM files WHERE due_at IS NULL AND file_id NOT IN (SELECT file_id FROM messages)"
            )
            self._sql("DELETE FROM cases WHERE case_id NOT IN (SELECT case_id FROM files)")

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


def _file(row: sqlite3.Row) -> CaseFile:
    return CaseFile(
        file_id=row["file_id"],
        case_id=row["case_id"],
        source=row["source"],
        incident_id=row["incident_id"],
        title=row["title"],
        revision=row["revision"],
        state=row["state"],
        was_accepted=bool(row["was_accepted"]),
        confirmed=bool(row["confirmed"]),
        units=tuple(Assignment(Unit(code, name), role) for code, name, role in json.loads(row["units"])),
        answers=row["answers"],
        plan=[Step(**step) for step in json.loads(row["plan"])],
        due_at=row["due_at"],
        message=json.loads(row["message"]),
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
