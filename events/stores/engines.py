# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes the engine of a database URL: SQLite or PostgreSQL, each set up so that a commit is on the disk. Knows no table."""

from typing import Any

from sqlalchemy import URL, Connection, Engine, StaticPool, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from gridwatch.core.errors import InputError
from gridwatch.core.redact import redact

BUSY_TIMEOUT_MS = 5_000  # for a lock that another process holds, on either database
CONNECT_TIMEOUT_S = 5
STALLED_TIMEOUT_MS = 30_000  # of a writer that took the lock and went silent
OPENING_LOCK = (
    0x6772_6964  # key of PostgreSQL's advisory lock: one process at a time brings the schema up to date
)
WRITES = "gridwatch_writes"


def read_url(url: str) -> URL:
    """Return the URL of a database, with the driver that is used here.

    Raises:
        InputError: it cannot be read, or names another database.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise InputError(
            "the store's URL cannot be read; examples: sqlite:////var/lib/gridwatch.db, postgresql://user@host/gridwatch"
        ) from error
    if parsed.get_backend_name() not in ("sqlite", "postgresql"):
        raise InputError(f"the store is SQLite or PostgreSQL; the URL names {parsed.get_backend_name()}")
    return parsed.set(drivername="postgresql+psycopg") if parsed.drivername == "postgresql" else parsed


def in_memory(url: URL) -> bool:
    """Tell whether a database lives in this process only."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def make_engine(url: URL) -> Engine:
    """Return an engine. Nothing is connected yet.

    Raises:
        InputError: its driver is not installed.
    """
    sqlite = url.get_backend_name() == "sqlite"
    try:
        if in_memory(url):
            engine = _engine(url, poolclass=StaticPool, connect_args={"check_same_thread": False})
        elif sqlite:
            engine = _engine(url)
        else:
            engine = _engine(url, pool_pre_ping=True, connect_args=_postgresql_arguments(url))
    except (SQLAlchemyError, ImportError) as error:
        raise InputError(
            "the store's URL names a database that cannot be used here (PostgreSQL: pip install 'gridwatch[postgresql]'): "
            + redact(str(error))
        ) from error
    if sqlite:
        event.listen(engine, "connect", _on_sqlite_connect)
        event.listen(engine, "begin", _on_sqlite_begin)
    else:
        event.listen(engine, "connect", _on_postgresql_connect)
        event.listen(engine, "begin", _on_postgresql_begin)
    return engine


def options_of(engine: Engine, *, writes: bool) -> dict[str, Any]:
    """Return the execution options of a connection that reads or writes."""
    if engine.dialect.name == "sqlite":
        return {WRITES: writes}
    if writes:  # every statement sees what was committed before it; the lock on the counter gives the order
        return {WRITES: True, "isolation_level": "READ COMMITTED"}
    return {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


def hold_for_opening(connection: Connection) -> None:
    """Wait until no other process brings the schema up to date; held until the transaction ends.

    Raises:
        InputError: the database cannot hold every text.
    """
    if connection.dialect.name == "sqlite":
        return  # BEGIN IMMEDIATE is that lock
    encoding = connection.execute(text("SHOW server_encoding")).scalar()
    if encoding != "UTF8":
        raise InputError(f"the database's encoding is {encoding}; make one with ENCODING 'UTF8'")
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": OPENING_LOCK})


def _engine(url: URL, **more: Any) -> Engine:
    return create_engine(
        url, hide_parameters=True, **more
    )  # an error's text is logged; what was to be written is not


def _postgresql_arguments(url: URL) -> dict[str, Any]:
    arguments: dict[str, Any] = {"connect_timeout": CONNECT_TIMEOUT_S, "application_name": "gridwatch"}
    return {name: value for name, value in arguments.items() if name not in url.query}


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
    writes = connection.get_execution_options().get(WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _on_postgresql_connect(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute(f"SET lock_timeout = {BUSY_TIMEOUT_MS}")
    cursor.execute("SHOW synchronous_commit")
    if cursor.fetchone()[0] == "off":  # a commit that is not on the disk is no record
        cursor.execute("SET synchronous_commit = on")
    cursor.close()
    connection.commit()


def _on_postgresql_begin(connection: Connection) -> None:
    # A writer that hangs with its machine or its network would hold the lock for everybody until TCP gives up.
    if connection.get_execution_options().get(WRITES, False):
        connection.exec_driver_sql(f"SET LOCAL idle_in_transaction_session_timeout = {STALLED_TIMEOUT_MS}")
