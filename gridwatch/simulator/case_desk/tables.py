# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tables of the case desk's state file, and the way from an older file to them. No rules and no queries here."""

import json
import sqlite3
from typing import Any, Final

STATE_VERSION: Final = 2
_MESSAGES: Final = """
CREATE TABLE messages (
  source TEXT NOT NULL, message_id TEXT NOT NULL, sha256 TEXT NOT NULL, file_id TEXT NOT NULL, revision INTEGER NOT NULL,
  previous INTEGER NOT NULL, type TEXT NOT NULL, held_data TEXT, held_until REAL,
  PRIMARY KEY (source, message_id));
CREATE INDEX messages_held ON messages (held_until) WHERE held_until IS NOT NULL;
CREATE INDEX messages_of_file ON messages (file_id, revision);
"""
_FILES: Final = """
CREATE TABLE files (
  file_id TEXT PRIMARY KEY, case_id TEXT NOT NULL, source TEXT NOT NULL, incident_id TEXT NOT NULL,
  revision INTEGER NOT NULL, state TEXT NOT NULL, was_accepted INTEGER NOT NULL, confirmed INTEGER NOT NULL,
  title TEXT NOT NULL, units TEXT NOT NULL, answers TEXT, plan TEXT NOT NULL, due_at REAL, message TEXT NOT NULL,
  UNIQUE (source, incident_id));
CREATE INDEX files_due ON files (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX files_of_case ON files (case_id);
CREATE TABLE cases (case_id TEXT PRIMARY KEY, revision INTEGER NOT NULL);
"""
_REPLIES: Final = """
CREATE TABLE replies (seq INTEGER PRIMARY KEY AUTOINCREMENT, fields TEXT NOT NULL, send_at REAL NOT NULL);
CREATE INDEX replies_due ON replies (send_at);
"""
_LATER: Final = """
CREATE TABLE orders (seq INTEGER PRIMARY KEY AUTOINCREMENT, file_id TEXT NOT NULL, step TEXT NOT NULL);
CREATE TABLE places (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""
_COUNTERS: Final = """
CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
INSERT INTO counters VALUES ('case', 0);
"""
_AFTER_FILES: Final = """
DROP TABLE old_files;
DROP INDEX messages_held;
DROP INDEX messages_of_case;
ALTER TABLE messages RENAME TO old_messages;
"""
_AFTER_MESSAGES: Final = """
INSERT INTO messages SELECT * FROM old_messages;
DROP TABLE old_messages;
ALTER TABLE replies RENAME TO old_replies;
"""
_AFTER_REPLIES: Final = """
INSERT INTO replies SELECT seq, fields, 0 FROM old_replies;
DROP TABLE old_replies;
"""


def prepare(connection: sqlite3.Connection) -> int:
    """Make the tables in an empty file, or bring those of version 1 up to now, and return the file's version then.

    Runs inside the caller's transaction. A file of a later version is left as it is.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if version == 0:
        _run(connection, _FILES + _MESSAGES + _REPLIES + _LATER + _COUNTERS)
    elif version == 1:
        _from_version_1(connection)
    else:
        return version
    connection.execute(f"PRAGMA user_version = {STATE_VERSION}")
    return STATE_VERSION


def _run(connection: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            connection.execute(statement)


def _from_version_1(connection: sqlite3.Connection) -> None:
    """In version 1 a file was its case, had two units at most, and replies were sent as soon as they could be."""
    _run(connection, "ALTER TABLE files RENAME TO old_files;\nDROP INDEX files_due;\n" + _FILES)
    for row in connection.execute("SELECT * FROM old_files").fetchall():
        connection.execute("INSERT INTO cases VALUES (?, ?)", (row["case_id"], row["case_revision"]))
        connection.execute(
            "INSERT INTO files (file_id, case_id, source, incident_id, revision, state, was_accepted, confirmed, title,"
            " units, answers, plan, due_at, message) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '{}')",
            (
                row["case_id"],
                row["case_id"],
                row["source"],
                row["incident_id"],
                row["revision"],
                row["state"],
                row["was_accepted"],
                int(bool(row["was_accepted"] or row["plan"] != "[]")),
                row["title"],
                json.dumps(_units(row)),
                row["answers"],
                json.dumps(_plan(row)),
                row["due_at"],
            ),
        )
    _run(connection, _AFTER_FILES)
    _run(connection, _MESSAGES)
    _run(connection, _AFTER_MESSAGES)
    _run(connection, _REPLIES)
    _run(connection, _AFTER_REPLIES)
    _run(connection, _LATER)


def _units(row: sqlite3.Row) -> list[list[str]]:
    return [[*json.loads(row[role]), role] for role in ("lead", "assist") if row[role] is not None]


def _plan(row: sqlite3.Row) -> list[dict[str, Any]]:
    names = {role: name for _, name, role in _units(row)}
    return [
        {"say": word} | ({"unit": names[role]} if role in names else {})
        for word, role in json.loads(row["plan"])
    ]
