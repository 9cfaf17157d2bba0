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
from typing import Self

from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import DataError, IntegrityError, SQLAlchemyError

from events.errors import RecordRefused, StoreError
from events.incident import IncidentCodec
from events.journal import GENESIS
from events.stores.engines import hold_for_opening, in_memory, make_engine, options_of, read_url
from events.stores.migrate import is_current, migrate
from events.stores.schema import COUNTER, EPOCHS, THE_COUNTER
from events.stores.writing import Writer
from gridwatch.core.redact import redact


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
            InputError: the URL cannot be read, or its driver is not installed.
            StoreError: the database does not answer.
        """
        parsed = read_url(url)
        store = cls(make_engine(parsed), single_connection=in_memory(parsed))
        try:
            store._prepare()
        except BaseException:
            store.close()
            raise
        return store

    @staticmethod
    def is_current(url: str) -> bool:
        """Tell whether a database answers and has this version's schema; nothing is changed.

        Raises:
            InputError: the URL cannot be read, or its driver is not installed.
        """
        engine = make_engine(read_url(url))
        try:
            with engine.connect() as connection:
                return is_current(connection)
        except SQLAlchemyError:
            return False
        finally:
            engine.dispose()

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
            RecordRefused: the database does not take what was to be written.
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
        return self._engine.connect().execution_options(**options_of(self._engine, writes=writes))

    def _prepare(self) -> None:
        with self._writing, _translated(), self._connection(writes=True) as connection, connection.begin():
            hold_for_opening(connection)
            migrate(connection)
            epoch = connection.execute(select(COUNTER.c.epoch)).scalar()
            if epoch is None:
                epoch = secrets.token_hex(8)
                first = {"id": THE_COUNTER, "seq": 0, "last_hash": GENESIS, "epoch": epoch}
                connection.execute(insert(COUNTER).values(first))
                connection.execute(insert(EPOCHS).values(epoch=epoch, first_seq=1))
            self._epoch = epoch


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (IntegrityError, DataError) as error:
        raise RecordRefused(redact(f"the database does not take this: {error.orig}")) from error
    except SQLAlchemyError as error:
        raise StoreError(redact(f"the database does not answer: {error}")) from error
