# SPDX-License-Identifier: AGPL-3.0-or-later
"""The store: one order, one chain, one writer, and a schema that migrations and code agree on."""

import sqlite3
import threading
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from events.errors import StoreError
from events.journal import GENESIS, chain_hash, digest
from events.stores.schema import METADATA
from events.stores.sql import Store
from events.stores.writing import Entry
from gridwatch.core.errors import InputError
from gridwatch.core.finding import Stage


@pytest.fixture
def store(tmp_path):
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as opened:
        yield opened


def entry(clock, number=1, **more):
    values = {
        "incident_id": f"inc-{number}",
        "revision": 1,
        "kind": "opened",
        "actor": "machine",
        "at": clock.now(),
        "payload": {"text": "疑似明火", "n": number},
    }
    return Entry(**values | more)


def rows(store):
    from events.reading import AlertReader

    return list(AlertReader(store).rows_after(0, 5000))


def check_chain(found):
    before = GENESIS
    for number, row in enumerate(found, 1):
        assert row.seq == number
        assert row.prev_hash == before
        assert row.payload_hash == digest(row.payload)
        assert row.row_hash == chain_hash(row)
        before = row.row_hash


def test_migrations_and_code_describe_the_same_tables(store):
    """A database made by the migrations differs in nothing from the schema that the code uses."""
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_an_older_store_learns_the_run_mode_of_its_incidents(room, kit):
    """A store of the first schema is brought up to date when it is opened; what it holds keeps its run mode."""
    room.policy = kit.replace(room.policy, run_mode="exercise")
    room.again()
    drill = room.opened("d1")
    room.says(Stage.ENDED, "d1")  # else the start would write it again
    room.store.close()
    with closing(sqlite3.connect(room.folder / "gridwatch.db")) as database, database:
        database.execute("ALTER TABLE incidents DROP COLUMN run_mode")
        database.execute("UPDATE alembic_version SET version_num = '0001'")
    room.open()
    assert room.opened("d2").id == drill.id
    with room.store.read() as connection:
        assert connection.execute(text("SELECT run_mode FROM incidents")).scalar() == "exercise"
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_the_epoch_is_drawn_once(tmp_path):
    """Opening again keeps the epoch; another store has another one; it holds no colon, because marks do."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url) as first:
        epoch = first.epoch
    with Store.open(url) as again, Store.open(f"sqlite:///{tmp_path / 'other.db'}") as other:
        assert again.epoch == epoch != other.epoch
        assert ":" not in epoch


def test_sqlite_is_set_up_for_safety(store):
    """The journal is written ahead and every commit reaches the disk."""
    with store.read() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_rows_are_numbered_and_chained(store, clock):
    """Rows of one and of several transactions form one chain from the genesis hash."""
    with store.write() as tx:
        tx.append(entry(clock, 1))
        tx.append(entry(clock, 2, message_id="inc-2:1"))
    clock.advance(0.001234)
    with store.write() as tx:
        written = tx.append(entry(clock, 3))
    found = rows(store)
    check_chain(found)
    assert found[2] == written
    assert found[2].at == clock.now()


def test_a_changed_row_breaks_the_chain(store, clock, tmp_path):
    """Editing a row's fields or payload behind the store's back shows in its hashes."""
    with store.write() as tx:
        tx.append(entry(clock, 1))
        tx.append(entry(clock, 2))
    with sqlite3.connect(tmp_path / "store.db") as raw:
        raw.execute("UPDATE journal SET actor = 'operator:x' WHERE seq = 1")
    raw.close()
    with pytest.raises(AssertionError):
        check_chain(rows(store))


def test_deleting_a_payload_keeps_the_chain(store, clock, tmp_path):
    """Retention may empty a payload: the row's hash stands over the payload's hash."""
    with store.write() as tx:
        tx.append(entry(clock, 1))
    with sqlite3.connect(tmp_path / "store.db") as raw:
        raw.execute("UPDATE journal SET payload = NULL")
    raw.close()
    (row,) = rows(store)
    assert row.payload is None
    assert row.row_hash == chain_hash(row)


def test_a_failed_transaction_leaves_no_gap(store, clock):
    """What was rolled back took no number."""
    writing = store.write()
    tx = writing.__enter__()
    tx.append(entry(clock, 1))
    writing.__exit__(RuntimeError, RuntimeError("stop"), None)
    with store.write() as tx:
        assert tx.append(entry(clock, 2)).seq == 1
    check_chain(rows(store))


def test_many_writers_in_two_stores_of_one_file_make_one_order(tmp_path, clock):
    """Threads over two engines, as two processes would be: every row has its number, and the chain holds."""
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url) as one, Store.open(url) as two:

        def write(store):
            for number in range(10):
                with store.write() as tx:
                    tx.append(entry(clock, number))

        threads = [threading.Thread(target=write, args=(store,)) for store in (one, two, one, two)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found = rows(one)
        assert len(found) == 40
        check_chain(found)


def test_a_message_id_is_unique(store, clock):
    """The database itself refuses a second row for one message."""
    with store.write() as tx:
        tx.append(entry(clock, 1, message_id="inc-1:1"))
    with pytest.raises(StoreError), store.write() as tx:
        tx.append(entry(clock, 2, message_id="inc-1:1"))


def test_readers_do_not_wait_for_the_writer(store, clock):
    """While a write is open, a reader sees what was there before."""
    with store.write() as tx:
        tx.append(entry(clock, 1))
        assert rows(store) == []
    assert len(rows(store)) == 1


def test_an_absent_database_is_a_store_error(tmp_path):
    """A folder that does not exist, or a file that is no database, is StoreError; nothing of a password is told."""
    with pytest.raises(StoreError):
        Store.open(f"sqlite:///{tmp_path / 'nowhere' / 'store.db'}")
    rubbish = tmp_path / "rubbish.db"
    rubbish.write_bytes(b"this is no database" * 100)
    with pytest.raises(StoreError):
        Store.open(f"sqlite:///{rubbish}")


@pytest.mark.parametrize("url", ["not a url", "postgresql+nothing://u:s3cret@h/db"])
def test_a_wrong_url_is_an_input_error_without_the_password(url):
    """What cannot be read or used is said in one sentence."""
    with pytest.raises(InputError) as raised:
        Store.open(url)
    assert "s3cret" not in str(raised.value)


def test_a_locked_database_is_a_store_error_and_heals(tmp_path, clock, monkeypatch):
    """While another program holds the file, writing is StoreError; afterwards the same call succeeds."""
    monkeypatch.setattr("events.stores.sql.BUSY_TIMEOUT_MS", 50)
    with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as store:
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError), store.write() as tx:
            tx.append(entry(clock))
        other.execute("ROLLBACK")
        other.close()
        with store.write() as tx:
            tx.append(entry(clock))
        check_chain(rows(store))


def test_a_store_in_memory_works_for_trials(clock):
    """A database in memory serves reads and writes of one process."""
    with Store.open("sqlite://") as store:
        with store.write() as tx:
            tx.append(entry(clock))
        check_chain(rows(store))
