# SPDX-License-Identifier: AGPL-3.0-or-later
"""The database: opening, transactions, and the translation of its errors. Knows no rule of incidents.

One writer at a time: SQLite by `BEGIN IMMEDIATE`, every database by the lock on the counter row, which a write takes
first. So the order of commits is the order of the journal.
"""

import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Engine, StaticPool, create_engine, event, insert, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from events.errors import StoreError
from events.incident import IncidentCodec
from events.journal import GENESIS
from events.stores.migrate import migrate
from events.stores.schema import COUNTER, THE_COUNTER
from events.stores.writing import Writer
from gridwatch.core.errors import InputError
from gridwatch.core.redact import redact

BUSY_TIMEOUT_MS = 5_000


class Store:
    """An open store. Safe for several threads; writes of one process wait for each other."""

    def __init__(self, engine: Engine, *, single_connection: bool) -> None:
        self._engine = engine
        self._writing = threading.RLock()
        self._single = single_connection
        self.codec = IncidentCodec()
        self._epoch = ""

    @classmethod
    def open(cls, url: str) -> "Store":
        """Open the database of a SQLAlchemy URL and bring it to this version's schema.

        Raises:
            InputError: the URL cannot be read.
            StoreError: the database does not answer.
        """
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise InputError(
                "the store's URL cannot be read; an example: sqlite:////var/lib/gridwatch.db"
            ) from error
        memory = parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")
        store = cls(
            _engine(url, sqlite=parsed.get_backend_name() == "sqlite", memory=memory),
            single_connection=memory,
        )
        try:
            store._prepare()
        except BaseException:
            store.close()
            raise
        return store

    @property
    def epoch(self) -> str:
        """Drawn when the store was made; marks of another epoch belong to another store."""
        return self._epoch

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def write(self) -> Iterator[Writer]:
        """Hold the one write transaction: committed at the end, rolled back on any error.

        Raises:
            StoreError: the database does not answer.
        """
        with self._writing, _translated(), self._connection(writes=True) as connection, connection.begin():
            writer = Writer(connection, self.codec)
            yield writer
            writer.finish()

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Hold a connection with one consistent view of the database.

        Raises:
            StoreError: the database does not answer.
        """
        if self._single:
            with (
                self._writing,
                _translated(),
                self._connection(writes=False) as connection,
                connection.begin(),
            ):
                yield connection
            return
        with _translated(), self._connection(writes=False) as connection, connection.begin():
            yield connection

    def _connection(self, *, writes: bool) -> Connection:
        return self._engine.connect().execution_options(gridwatch_writes=writes)

    def _prepare(self) -> None:
        with self._writing, _translated(), self._connection(writes=True) as connection, connection.begin():
            migrate(connection)
            epoch = connection.execute(select(COUNTER.c.epoch)).scalar()
            if epoch is None:
                epoch = secrets.token_hex(8)
                first = {"id": THE_COUNTER, "seq": 0, "last_hash": GENESIS, "epoch": epoch}
                connection.execute(insert(COUNTER).values(first))
            self._epoch = epoch


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        raise StoreError(redact(f"the database does not answer: {error}")) from error


def _engine(url: str, *, sqlite: bool, memory: bool) -> Engine:
    try:
        if memory:
            engine = create_engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
        else:
            engine = create_engine(url, pool_pre_ping=not sqlite)
    except (SQLAlchemyError, ImportError) as error:
        raise InputError(
            f"the store's URL names a database that cannot be used here: {redact(str(error))}"
        ) from error
    if sqlite:
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _on_sqlite_begin)
    return engine


def _on_sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = (
        None  # the driver must not begin transactions by itself; `_on_sqlite_begin` does
    )
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        f"busy_timeout={BUSY_TIMEOUT_MS}",
        "foreign_keys=ON",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _on_sqlite_begin(connection: Connection) -> None:
    # A deferred transaction that reads and then writes fails with "database is locked" at once.
    writes = connection.get_execution_options().get("gridwatch_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
