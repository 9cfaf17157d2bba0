# SPDX-License-Identifier: AGPL-3.0-or-later
"""The store, on both databases: one order, one chain, one writer, and a schema that migrations and code agree on."""

import sqlite3
import threading

import pytest
from sqlalchemy import event, text

from events.alerts import AlertFilter, Decision
from events.errors import StoreError
from events.journal import GENESIS, Row, chain_hash, digest
from events.reading import AlertReader
from events.stores.sql import Store
from events.stores.writing import Entry
from gridwatch.core.errors import InputError
from gridwatch.core.zone import Kind

ON_SQLITE = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)


@pytest.fixture
def url(databases, tmp_path):
    return databases.make(tmp_path)


@pytest.fixture
def store(url):
    with Store.open(url) as opened:
        yield opened


def behind_its_back(store, statement):
    """Change the database as somebody would who does not go through the store."""
    with store._engine.connect() as connection:
        connection.execution_options(gridwatch_writes=True).exec_driver_sql(statement)
        connection.commit()


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
    return list(AlertReader(store).rows_after(0, 5000))


def check_chain(found):
    before = GENESIS
    for number, row in enumerate(found, 1):
        assert row.seq == number
        assert row.prev_hash == before
        assert row.payload_hash == digest(row.payload)
        assert row.row_hash == chain_hash(row)
        before = row.row_hash


def test_the_epoch_is_drawn_once(databases, tmp_path):
    """Opening again keeps the epoch; another store has another one; it holds no colon, because marks do."""
    url = databases.bare(tmp_path)
    with Store.open(url) as first:
        epoch = first.epoch
    with Store.open(url) as again, Store.open("sqlite://") as other:
        assert again.epoch == epoch != other.epoch
        assert ":" not in epoch
        (known,) = AlertReader(again).epochs()
        assert (known.epoch, known.first_seq, known.follows) == (epoch, 1, None)


@ON_SQLITE
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


def test_a_changed_row_breaks_the_chain(store, clock):
    """Editing a row's fields or payload behind the store's back shows in its hashes."""
    with store.write() as tx:
        tx.append(entry(clock, 1))
        tx.append(entry(clock, 2))
    behind_its_back(store, "UPDATE journal SET actor = 'operator:x' WHERE seq = 1")
    with pytest.raises(AssertionError):
        check_chain(rows(store))


def test_deleting_a_payload_keeps_the_chain(store, clock):
    """Retention may empty a payload: the row's hash stands over the payload's hash."""
    with store.write() as tx:
        tx.append(entry(clock, 1))
    behind_its_back(store, "UPDATE journal SET payload = NULL")
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


def test_many_writers_in_two_stores_of_one_database_make_one_order(url, clock):
    """Threads over two engines, as two processes would be: every row has its number, and the chain holds."""
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
    monkeypatch.setattr("events.stores.engines.BUSY_TIMEOUT_MS", 50)
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


def test_a_rows_hash_is_the_same_for_ever(clock):
    """The hash of a given row is this one, on every machine and in every version: copies outside hold it."""
    row = Row(
        seq=41,
        incident_id="0199c2d5-7f3a-7b1c-8d4e-000000000001",
        revision=2,
        kind="confirmed",
        actor="operator:op-7",
        at=clock.now(),
        payload=None,
        payload_hash=digest({"text": "疑似明火", "area_m2": 3.0, "n": [1, 2.5]}),
        prev_hash="ab" * 32,
        row_hash="",
        message_id="0199c2d5-7f3a-7b1c-8d4e-000000000001:2",
    )
    assert row.payload_hash == "e51ab99b348405bf6963957bb2415e6a95b0ebd316c6f01b72db834600cdf711"
    assert chain_hash(row) == "bd6e7a86395549cd7208059cef043d19ed12d4e55c14a61923f3ff048dfdb68c"


@ON_SQLITE
@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        ({"run_modes": ("actual",)}, "incidents_mode"),
        ({"run_modes": ("actual",), "decision": Decision.PENDING}, "incidents_mode_decision"),
        ({"run_modes": ("actual",), "camera_id": "c"}, "incidents_camera"),
        ({"run_modes": ("actual",), "kind": Kind.FIRE}, "incidents_kind"),
        ({"run_modes": ("actual", "exercise")}, "incidents_newest"),
        ({"run_modes": ("exercise",), "open_only": True}, "incidents_open"),
    ],
)
def test_a_list_is_read_along_one_index_in_its_own_order(store, wanted, index):
    """Nothing is sorted, and the column that tells most leads: a year of exercises, or of incidents, is not walked."""
    asked = []
    event.listen(store._engine, "before_cursor_execute", lambda *given: asked.append(given[2:4]))
    AlertReader(store).list(AlertFilter(**wanted), None, 50)
    statement, values = next(one for one in asked if "FROM incidents" in one[0])
    with store.read() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values).all()
    (step,) = [row[3] for row in plan]
    assert f"USING INDEX {index} " in f"{step} "
