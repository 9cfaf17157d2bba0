# SPDX-License-Identifier: AGPL-3.0-or-later
"""What differs between the databases and must not show: odd texts, order, locks, one view, and a server that goes away."""

import contextlib
import os
import signal
import threading
import time
from contextlib import closing

import psycopg
import pytest
from sqlalchemy import select, text

from events.alerts import AlertFilter, Decision
from events.errors import StoreError, UnknownIncident
from events.messages import CaseReply
from events.reading import AlertReader
from events.stores import queries
from events.stores.engines import read_url
from events.stores.schema import INCIDENTS, JOURNAL
from events.stores.sql import Store
from events.stores.writing import Entry
from gridwatch.core.errors import InputError
from gridwatch.core.finding import Stage
from tests.postgres import PostgresServer

ON_POSTGRESQL = pytest.mark.parametrize("databases", ["postgresql"], indirect=True)
ODD = ["a\0b", "\ud800", "疑似明火 🔥", "o'Brien; --", "ﬀ", "x" * 5_000]


def entry(room, number=1, message_id=None):
    payload = {"text": "疑似明火", "n": number}
    return Entry(
        incident_id=f"inc-{number}",
        revision=1,
        kind="opened",
        actor="machine",
        at=room.clock.now(),
        payload=payload,
        message_id=message_id,
    )


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_odd_texts_are_recorded_on_every_database(room, odd):
    """NUL, lone surrogates, Chinese, quotes and long texts: of an operator, in a note, in an answer and in facts."""
    alert = room.opened(note=odd)
    now = room.book.decide(alert.id, Decision.CONFIRMED, by=odd, note=odd)
    assert now.decided.by
    reply = room.reply(alert.id, "accepted", 1, note=odd, unit={"code": odd[:50], "name": odd})
    assert room.book.answer(CaseReply.parse(reply | {"source": odd, "id": odd})) in ("recorded", "illegal")
    assert room.book.answer(CaseReply.parse(reply | {"source": odd, "id": odd})) == "duplicate"
    unknown = room.reply("nobody", "accepted", 7) | {"source": odd}
    assert room.book.answer(CaseReply.parse(unknown)) == "orphan"
    assert room.reader.get(alert.id).decision is Decision.CONFIRMED


@pytest.mark.parametrize("odd", ODD, ids=ascii)
def test_odd_questions_find_nothing(room, odd):
    """An id or camera that cannot be in any store is answered as unknown, not as a database in trouble."""
    with pytest.raises(UnknownIncident):
        room.reader.get(odd)
    with pytest.raises(UnknownIncident):
        room.reader.timeline(odd)
    assert room.reader.rows_of(odd, 0, 5) == []
    assert room.reader.list(AlertFilter(camera_id=odd), None, 5).items == ()
    with pytest.raises(UnknownIncident):
        room.book.decide(odd, Decision.CONFIRMED, by="op-1")


def test_pages_are_in_one_order_whatever_the_database_sorts_by(room, kit):
    """Many alerts of one moment: each comes once, though the server sorts text as people do."""
    alert = room.opened()
    with room.store.write() as tx:
        incident = tx.incident(alert.id)
        for name in ("a-1", "A-1", "a1", "á1", "b", "B", "_x", "-x", "10", "9", "中", "人"):
            tx.save(kit.replace(incident, alert=kit.replace(alert, id=name)), new=True)
    found, cursor = [], None
    while True:
        page = room.reader.list(AlertFilter(), cursor, 2)
        found += [one.id for one in page.items]
        cursor = page.next
        if cursor is None:
            break
    assert len(found) == len(set(found)) == 13


def test_states_are_streamed_not_held(room):
    """Reading every incident keeps a cursor in the database; a writer is not kept waiting by it."""
    for number in range(3):
        room.opened(f"f{number}", camera=f"camera-{number}")
    with room.store.read() as connection:
        states = queries.states(connection, INCIDENTS.c.kind == "fire")
        next(states)
        room.opened("later", camera="camera-9")
        assert len(list(states)) == 2


def test_a_reader_has_one_view(room):
    """Two reads within one `read` agree, whatever was recorded between them."""
    room.opened("a")
    with room.store.read() as connection:
        before = queries.last_seq(connection)
        room.opened("b", camera="camera-2")
        assert queries.last_seq(connection) == before
        assert connection.execute(select(JOURNAL.c.seq).order_by(JOURNAL.c.seq.desc())).scalar() == before
    assert room.reader.last_seq() > before


def test_readers_never_skip_a_row(room):
    """While two stores write, a reader that goes on from the last number sees every row, in order, without a gap."""
    stop, seen = threading.Event(), []

    def follow():
        last = 0
        while not stop.is_set() or last < room.reader.last_seq():
            for row in room.reader.rows_after(last, 7):
                seen.append(row.seq)
                last = row.seq

    def write(store, of):
        for number in range(15):
            with store.write() as tx:
                tx.append(entry(room, number, f"{of}-{number}:1"))

    with Store.open(room.url) as other:
        threads = [threading.Thread(target=follow)]
        threads += [
            threading.Thread(target=write, args=(store, of))
            for of, store in (("a", room.store), ("b", other))
        ]
        for thread in threads:
            thread.start()
        for thread in threads[1:]:
            thread.join()
        stop.set()
        threads[0].join()
    assert seen == list(range(1, 31))


@ON_POSTGRESQL
def test_a_held_lock_is_a_store_error_and_heals(room, monkeypatch):
    """While another process holds the journal's lock, writing is StoreError after its time-out; then it succeeds."""
    monkeypatch.setattr("events.stores.engines.BUSY_TIMEOUT_MS", 100)
    room.again()
    with Store.open(room.url) as other, other.write():
        with pytest.raises(StoreError, match="does not answer"):
            room.opened()
        assert room.reader.last_seq() == 0
    assert room.opened()


@ON_POSTGRESQL
def test_a_writer_that_went_silent_does_not_hold_the_journal_for_ever(room, monkeypatch):
    """A transaction that took the lock and hangs is ended by the server; what it wrote is gone with it."""
    stalled, locked, ended = Store.open(room.url), threading.Event(), threading.Event()
    monkeypatch.setattr("events.stores.engines.STALLED_TIMEOUT_MS", 1_000)

    def hang():
        with contextlib.suppress(StoreError), stalled.write() as tx:
            tx.append(entry(room))
            locked.set()
            while room.reader.last_seq() == 0:  # until somebody else could write
                time.sleep(0.02)
        ended.set()

    thread = threading.Thread(target=hang, daemon=True)
    thread.start()
    assert locked.wait(30), "the writer did not get the lock"
    alert, deadline = None, time.monotonic() + 40
    while not ended.is_set() and time.monotonic() < deadline:
        with contextlib.suppress(StoreError):  # the lock's time-out may come first
            alert = room.book.record(room.finding(), None) or alert
        time.sleep(0.02)
    assert ended.is_set(), "the server did not end the silent transaction"
    thread.join()
    stalled.close()
    assert [row.incident_id for row in room.reader.rows_after(0, 50)] == [alert.id]


@ON_POSTGRESQL
def test_two_processes_may_open_a_new_database_at_once(databases, tmp_path):
    """One of them makes the tables, the other waits; both see one epoch."""
    url, opened = databases.bare(tmp_path), []

    def open_it():
        with Store.open(url) as store:
            opened.append(store.epoch)

    threads = [threading.Thread(target=open_it) for _ in range(3)]
    threads[0].start()
    threads[0].join()  # Alembic's `op` is global to a process: the schema is made by one thread
    for thread in threads[1:]:
        thread.start()
    for thread in threads[1:]:
        thread.join()
    assert len(opened) == 3
    assert len(set(opened)) == 1


@ON_POSTGRESQL
def test_a_commit_is_on_the_disk_whatever_the_server_is_told(room):
    """A server configured to answer before it has written is told otherwise for our transactions."""
    with room.store.read() as connection:
        connection.execute(text("SELECT 1"))
    room.store.close()
    name = read_url(room.url).database
    with psycopg.connect(psycopg_url(room.url), autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    room.open()
    with room.store.read() as connection:
        assert connection.execute(text("SHOW synchronous_commit")).scalar() == "on"


def psycopg_url(url):
    return url.replace("postgresql+psycopg://", "postgresql://")


@pytest.fixture(scope="module")
def own_server(postgresql):
    """A server that a test may kill; where there can be none, the session's own says so."""
    with PostgresServer() as server:
        yield server


def test_a_server_that_goes_away_is_a_store_error_and_heals(own_server, clock, kit, tmp_path):
    """Reads and writes fail with StoreError while it is away; when it is back the same objects go on, and nothing is lost."""

    class There:
        def make(self, _folder):
            return own_server.new_database()

    room = kit.Room(tmp_path, clock, There())
    with closing(room.store):
        first = room.opened("a")
        clock.advance(1)
        os.kill(own_server.pid, signal.SIGQUIT)
        own_server._process.wait()
        for call in (lambda: room.opened("b", camera="camera-2"), room.reader.last_seq):
            with pytest.raises(StoreError):
                call()
        own_server.start()
        second = room.opened("b", camera="camera-2")
        assert [one.id for one in room.reader.list(AlertFilter(), None, 5).items] == [second.id, first.id]
        assert [row.seq for row in room.reader.rows_after(0, 9)] == [1, 2]


def test_a_server_that_is_not_there_is_a_store_error_without_the_password():
    """Nothing of the password is told."""
    with pytest.raises(StoreError) as raised:
        Store.open("postgresql://u:s3cret@127.0.0.1:1/db")
    assert "s3cret" not in str(raised.value)


def test_a_failed_statement_tells_nothing_of_what_was_written(room):
    """An error's text is logged: it names the statement, not the values."""
    with room.store.write() as tx:
        tx.append(entry(room, 1, "inc-1:1"))
    with pytest.raises(StoreError) as raised, room.store.write() as tx:
        tx.append(entry(room, 1, "inc-1:1"))
    assert "疑似明火" not in str(raised.value)


def test_a_database_that_cannot_hold_every_text_is_refused(postgresql):
    """A database in another encoding than UTF-8 is wrong input, told before anything is made in it."""
    postgresql.execute(
        "CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc"
    )
    with pytest.raises(InputError, match="LATIN1"):
        Store.open(postgresql.url("latin"))
    postgresql.drop(postgresql.url("latin"))


@pytest.mark.parametrize(
    ("url", "driver"),
    [
        ("postgresql://u@h/d", "postgresql+psycopg"),
        ("postgresql+psycopg://u@h/d", "postgresql+psycopg"),
        ("sqlite:///x.db", "sqlite"),
    ],
)
def test_the_driver_is_ours(url, driver):
    """A plain PostgreSQL URL takes the driver that is installed with gridwatch."""
    assert read_url(url).drivername == driver


def test_other_databases_are_refused():
    """What nobody tested is wrong input."""
    with pytest.raises(InputError, match="mysql"):
        Store.open("mysql://u:s3cret@h/d")


def test_nothing_is_missing_after_a_restart(room):
    """A book over the same database takes up what was open."""
    alert = room.opened()
    room.again()
    assert AlertReader(room.store).get(alert.id).activity == "unseen"
    room.says(Stage.UPDATED, count=4)
    assert room.reader.get(alert.id).activity == "ongoing"
