# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whole copies of a database, and the step that lets a copy go on as a store of its own. Knows no files but the copy's.

A copy is always a SQLite file, whichever database it was taken of, and can be loaded into either.
"""

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, delete, func, insert, select, text, update

from events.errors import BackupError
from events.journal import Epoch
from events.stores.schema import COUNTER, EPOCHS, INCIDENTS, JOURNAL, METADATA, TALLIES, THE_COUNTER
from events.stores.sql import Store
from events.stores.writing import Writer
from events.times import utc_text
from gridwatch.core.errors import InputError

CHUNK_ROWS = 2_000
PAGES_A_STEP = 2_048
_OF_EMPTY_STORES = (COUNTER, EPOCHS, TALLIES)  # they may hold rows before anything was recorded

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Contents:
    """How much a store holds, and where its journal ends."""

    epoch: str
    last_seq: int
    last_hash: str
    rows: int
    incidents: int


def snapshot(store: Store, file: Path, progress: Progress) -> Contents:
    """Copy a store that others go on writing to, as it is at one moment, into a new SQLite file; return what it holds.

    Raises:
        StoreError: the database does not answer.
        BackupError: the file cannot be written.
    """
    try:
        with store.read() as connection:
            held = contents(connection)  # from here on the view stands still
            if connection.dialect.name == "sqlite":
                _copy_pages(connection, file, progress)
            else:
                with Store.open(f"sqlite:///{file}") as copy, copy.write() as tx:
                    _copy_tables(connection, tx.connection, progress)
        _fold(file)
        return held
    except (sqlite3.Error, OSError) as error:
        raise BackupError(f"the copy of the database cannot be written: {error}") from error


def contents(connection: Connection) -> Contents:
    """Return how much a store holds."""
    seq, last_hash, epoch = connection.execute(
        select(COUNTER.c.seq, COUNTER.c.last_hash, COUNTER.c.epoch)
    ).one()
    return Contents(epoch, seq, last_hash, _count(connection, JOURNAL), _count(connection, INCIDENTS))


def load(store: Store, copy: Store, progress: Progress) -> None:
    """Put everything of `copy` into an empty store, in one transaction: all of it or, on any error, nothing.

    Raises:
        InputError: the store is not empty.
        StoreError: a database does not answer.
    """
    with copy.read() as source, store.write() as tx:
        refuse_unless_empty(tx.connection)
        _copy_tables(source, tx.connection, progress)
        if contents(source) != contents(tx.connection):
            raise BackupError("the database did not take every row of the copy; nothing was changed")


def refuse_unless_empty(connection: Connection) -> None:
    """Raise `InputError` where a store holds anything."""
    for table in METADATA.sorted_tables:
        if table not in _OF_EMPTY_STORES and connection.execute(select(table).limit(1)).first() is not None:
            raise InputError(
                f"the store is not empty (there are {table.name}): a backup is restored into a new one only; "
                "move the old one away, or name another with `store` and `state`"
            )


def begin_epochs(tx: Writer, added: Sequence[Epoch], at: datetime, *, raised_by: int) -> None:
    """Let a copy go on in the last of `added`: its next row is that one's first, and no revision is used twice.

    Every incident's revision is raised by `raised_by`, so that it lies above all that was told of the incident since.
    The copy is a SQLite file. Nothing else may be written in this transaction.
    """
    connection, newest = tx.connection, added[-1]
    rows = [
        {
            "epoch": one.epoch,
            "first_seq": one.first_seq,
            "follows": one.follows,
            "followed_until": one.followed_until,
            "at": utc_text(at),
        }
        for one in added
    ]
    connection.execute(insert(EPOCHS), rows)
    moved = update(COUNTER).where(COUNTER.c.id == THE_COUNTER)
    connection.execute(moved.values(epoch=newest.epoch, seq=newest.first_seq - 1))
    connection.execute(
        text(
            "UPDATE incidents SET revision = revision + :by, "
            "state = json_set(state, '$.alert.revision', revision + :by)"
        ),
        {"by": raised_by},
    )


def silent(_what: str, _done: int, _total: int) -> None:
    """Show no progress."""


def _copy_pages(connection: Connection, file: Path, progress: Progress) -> None:
    """Copy by SQLite's online backup. Inside a read transaction it never begins again, whatever is written meanwhile."""
    source: Any = connection.connection.driver_connection

    def tell(_status: int, remaining: int, total: int) -> None:
        progress("database", total - remaining, total)

    with closing(sqlite3.connect(file)) as target:
        source.backup(target, pages=PAGES_A_STEP, progress=tell)


def _fold(file: Path) -> None:
    """Bring what SQLite keeps beside its file into it, and let nobody else read it."""
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    file.chmod(0o600)


def _copy_tables(source: Connection, target: Connection, progress: Progress) -> None:
    """Copy every table's rows, those first that others refer to."""
    tables = METADATA.sorted_tables
    total = sum(_count(source, table) for table in tables)
    done = 0
    for table in reversed(tables):
        target.execute(delete(table))
    for table in tables:
        ordered = select(table).order_by(*table.primary_key).execution_options(yield_per=CHUNK_ROWS)
        for part in source.execute(ordered).mappings().partitions():
            rows: list[Mapping[str, Any]] = [dict(row) for row in part]
            target.execute(insert(table), rows)
            done += len(rows)
            progress("database", done, total)


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()
