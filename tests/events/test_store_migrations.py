# SPDX-License-Identifier: AGPL-3.0-or-later
"""A store of an older schema is brought up to date when it is opened, on both databases; it keeps what it holds."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import func, select, text

from events.alerts import Decision
from events.incident import IncidentCodec
from events.reading import AlertReader, Counts
from events.stores.engines import make_engine, options_of, read_url
from events.stores.migrate import migrate
from events.stores.schema import EVIDENCE, METADATA, REPLIES
from events.stores.sql import Store
from gridwatch.core.finding import Stage

# Two incidents as schema 0002 kept them: a confirmed fire with a still and a clip, a dismissed smoke with neither.
KEPT = (Path(__file__).parent / "golden" / "incidents_0002.jsonl").read_text("utf-8").splitlines()
EPOCH = "5a7e0c4d9b1f2e38"
COLUMNS = {
    "incident_id": "id",
    "revision": "revision",
    "kind": "kind",
    "subtype": "subtype",
    "camera_id": "camera_id",
    "activity": "activity",
    "decision": "decision",
    "case_state": "case",
}


@pytest.fixture
def old(databases, tmp_path):
    """Return a function that makes a database of an older revision and yields a connection to fill it."""
    url = databases.bare(tmp_path)

    @contextmanager
    def made(revision):
        engine = make_engine(read_url(url))
        try:
            opened = engine.connect().execution_options(**options_of(engine, writes=True))
            with opened as connection, connection.begin():
                migrate(connection, revision)
                yield connection
        finally:
            engine.dispose()

    made.url = url
    return made


def insert_row(connection, table, values):
    names = ", ".join(values)
    places = ", ".join(f":{name}" for name in values)
    connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({places})"), values)


def insert_incident(connection, state, **more):
    alert = json.loads(state)["alert"]
    values = {column: alert[name] for column, name in COLUMNS.items()}
    values |= {"clip_state": alert["clip"]["state"], "opened_at": alert["opened_at"].replace("Z", ".000000Z")}
    insert_row(connection, "incidents", values | {"state": state} | more)


def fill(connection, seq=7):
    """Put the two incidents, the counter, a row and a reply into a store of schema 0002."""
    for state in KEPT:
        insert_incident(connection, state, run_mode="actual")
    last = {"id": 1, "seq": seq, "last_hash": "ab" * 32, "epoch": EPOCH}
    insert_row(connection, "counter", last)
    row = {"incident_id": "x", "revision": 1, "kind": "case", "actor": "case:desk", "payload": "{}"}
    at = {"at": "2026-11-26T01:00:00.000000Z", "payload_hash": "c" * 64, "prev_hash": "d" * 64}
    insert_row(connection, "journal", row | at | {"seq": seq, "row_hash": "ab" * 32})
    reply = {"source": "urn:desk", "reply_id": "1", "content_hash": "e" * 64, "seq": seq}
    insert_row(connection, "replies", reply)


def test_migrations_and_code_describe_the_same_tables(databases, tmp_path):
    """A database made by the migrations differs in nothing from the schema that the code uses."""
    with Store.open(databases.make(tmp_path)) as store, store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_an_older_store_learns_the_run_mode_of_its_incidents(old, tmp_path, clock, kit):
    """A store of the first schema takes each incident's run mode from what the incident says of itself."""
    state = json.loads(KEPT[1])
    state["alert"]["run_mode"] = "exercise"
    with old("0001") as connection:
        insert_incident(connection, json.dumps(state))
        insert_row(connection, "counter", {"id": 1, "seq": 0, "last_hash": "0" * 64, "epoch": EPOCH})
    with Store.open(old.url) as store, store.read() as connection:
        assert connection.execute(text("SELECT run_mode FROM incidents")).scalar() == "exercise"
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_a_store_of_the_second_schema_keeps_its_incidents_and_counts_them(old):
    """What was there is there: incidents, epoch, journal and replies; the tallies say what was counted before."""
    with old("0002") as connection:
        fill(connection)
    with Store.open(old.url) as store:
        reader = AlertReader(store)
        ids = [json.loads(state)["alert"]["id"] for state in KEPT]
        assert [reader.get(one).decision for one in ids] == [Decision.CONFIRMED, Decision.DISMISSED]
        assert (store.epoch, reader.last_seq(), reader.newest_rows("x", 5)[0].seq) == (EPOCH, 7, 7)
        assert [(one.epoch, one.first_seq, one.follows) for one in reader.epochs()] == [(EPOCH, 1, None)]
        assert reader.counts() == Counts(
            {"fire": 1, "smoke": 1},
            {"ongoing": 2},
            {"confirmed": 1, "dismissed": 1},
            {"dispatched": 1, "none": 1},
        )
        with store.read() as connection:
            assert connection.execute(select(func.count()).select_from(REPLIES)).scalar() == 1
            assert compare_metadata(MigrationContext.configure(connection), METADATA) == []


def test_a_store_of_the_second_schema_lists_the_evidence_of_its_incidents(old):
    """Every still, its masked form and the clip become rows that retention can find, however many incidents there are."""
    with old("0002") as connection:
        fill(connection)
        for number in range(600):  # more than the migration reads at a time
            state = json.loads(KEPT[1])
            state["alert"] |= {
                "id": f"i{number:03}",
                "clip": {"state": "ready", "sha256": f"{number:064x}"},
            }
            insert_incident(connection, json.dumps(state), run_mode="actual")
    fire = json.loads(KEPT[0])
    still, clip = fire["stills"][0], fire["alert"]["clip"]["sha256"]
    named = {still["sha256"]: ".jpg", still["masked_sha256"]: ".masked.jpg", clip: ".mp4"}
    with Store.open(old.url) as store, store.read() as connection:
        found = connection.execute(select(EVIDENCE)).mappings().all()
    of_fire = [row for row in found if row["incident_id"] == fire["alert"]["id"]]
    assert {row["sha256"]: row["suffix"] for row in of_fire} == named
    assert {row["stored_at"] for row in of_fire} == {"2026-11-26T01:00:00.000000Z"}
    assert {row["deleted_at"] for row in found} == {None}
    assert {row["sha256"] for row in found} - named.keys() == {f"{number:064x}" for number in range(600)}


def test_a_store_of_the_second_schema_goes_on(old, tmp_path, clock, kit):
    """After the migration a book takes up the open incident, and the next row follows the last one."""
    with old("0002") as connection:
        fill(connection)

    class Migrated:
        def make(self, _folder):
            return old.url

    room = kit.Room(tmp_path, clock, Migrated())
    room.says(Stage.UPDATED, count=9)
    alert = room.reader.get(json.loads(KEPT[0])["alert"]["id"])
    assert alert.activity == "ongoing"
    after = room.reader.rows_after(7, 10)
    assert (after[0].seq, after[0].prev_hash) == (8, "ab" * 32)
    assert room.reader.counts().by_activity == {"ongoing": 1, "unseen": 1}
    room.store.close()


@pytest.mark.parametrize("state", KEPT)
def test_incidents_of_the_second_schema_still_decode(state):
    """What an older version wrote is read, and written again without a loss."""
    codec = IncidentCodec()
    incident = codec.decode(state)
    assert codec.decode(codec.encode(incident)) == incident
