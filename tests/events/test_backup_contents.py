# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a backup holds and a restore takes: all of a store as it was at one moment, and nothing that was tampered with."""

import hashlib
import json
import os
import sqlite3
import threading
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import select

from events.alerts import Decision
from events.audit import verify
from events.errors import BackupDamaged, QueueError
from events.grids import Grids
from events.incidents import IncidentBook
from events.restoring import BESIDE_THE_STREAM, Restore, RestoreTarget
from events.roles import Role
from events.stores.queries import incident_by_id
from events.stores.schema import METADATA
from events.stores.sql import Store
from events.tokens import TokenBook
from gridwatch.core.errors import InputError
from tests.events.restoring_kit import (
    backed_up,
    in_memory,
    on_sqlite,
    recorded_city,
    restoring,
    sends,
)


@pytest.fixture
def restored(kit):
    yield from restoring(kit)


@pytest.fixture
def city(evidence_room, desk, kit):
    return recorded_city(evidence_room, desk, kit)


@in_memory
@on_sqlite
def test_a_store_that_holds_something_is_refused(city, desk, tmp_path, restored):
    """Nothing of it is touched."""
    backed_up(city, tmp_path / "b")
    rows = city.reader.last_seq()
    target = RestoreTarget(city.store, city.folder / "evidence", city.folder, city.policy.source)
    with pytest.raises(InputError, match="not empty"):
        Restore(target, desk.queue, city.clock).run(tmp_path / "b")
    assert city.reader.last_seq() == rows


@in_memory
def test_a_restore_that_fails_leaves_an_empty_store_and_can_be_tried_again(city, desk, tmp_path, restored):
    """The queue goes away at the last moment: the store takes nothing; the next try takes all."""
    backed_up(city, tmp_path / "b")
    desk.queue.reread_replies, working = _away, desk.queue.reread_replies
    with pytest.raises(QueueError):
        restored(city, tmp_path / "b", desk)
    desk.queue.reread_replies = working
    new, _ = restored(city, tmp_path / "b", desk)
    assert new.reader.get(city.fire).decision is Decision.CONFIRMED


def _away():
    raise QueueError("away")


@in_memory
def test_everything_a_store_holds_comes_back(city, desk, tmp_path, restored):
    """Incidents, rows, replies, evidence and tallies are those of before, but for the revisions; the chain holds."""
    TokenBook(city.store, city.clock).add("desk", Role.INTEGRATOR, timedelta(days=1))
    before, counts = _tables(city.store), city.reader.counts()
    backed_up(city, tmp_path / "b")
    new, report = restored(city, tmp_path / "b", desk, starts=False)
    after = _tables(new.store)
    assert new.reader.counts() == counts
    assert len(before["journal"]) == report.backed_up.rows == report.contents.rows - 1
    assert after["journal"].pop()["kind"] == "restored"
    for row in after["incidents"]:
        row["state"]["alert"]["revision"] -= BESIDE_THE_STREAM.revisions
        row["revision"] -= BESIDE_THE_STREAM.revisions
    assert all(before[name] for name in ("journal", "incidents", "replies", "tokens", "evidence", "tallies"))
    for row in after["tokens"]:
        row["revoked_at"] = None  # as the next test has it
    for name in set(before) - {"counter", "epochs"}:
        assert after[name] == before[name], name
    for old in (city.folder / "evidence").rglob("*.jpg"):
        assert (new.folder / old.relative_to(city.folder)).read_bytes() == old.read_bytes()


@in_memory
@on_sqlite
def test_no_token_of_a_backup_admits_anybody(city, desk, tmp_path, restored):
    """One that was revoked after the backup was made does not come back to life; the store stays guarded."""
    tokens = TokenBook(city.store, city.clock)
    for name in ("lost-laptop", "desk", "old"):
        tokens.add(name, Role.OPERATOR, timedelta(days=30))
    tokens.revoke("old")
    before = {token.name: token.revoked_at for token in tokens.all()}
    city.clock.advance(60)
    backed_up(city, tmp_path / "b")
    tokens.revoke("lost-laptop")
    city.clock.advance(60)
    new, report = restored(city, tmp_path / "b", desk, starts=False)
    after = TokenBook(new.store, new.clock).all()
    assert {token.name for token in after} == set(before)
    assert not any(token.admits(new.clock.now()) for token in after)
    assert {token.name: token.revoked_at for token in after}["old"] == before["old"]
    assert (report.tokens, report.tokens_ended) == (3, 2)


@in_memory
@on_sqlite
def test_what_a_restore_puts_down_is_its_owners_alone(city, desk, kit, tmp_path):
    """Pictures of the backup, and one that only the stream knows, are for one user, whatever the process's mask allows."""
    backed_up(city, tmp_path / "b.tar")
    held = set((city.folder / "evidence").rglob("*.*"))
    later = city.book.record(city.finding(of="later", camera="elsewhere"), kit.Picture())
    sends(city, desk)
    for file in held:
        file.unlink()
    before = os.umask(0o000)
    try:
        with Store.open(f"sqlite:///{tmp_path / 'new.db'}") as store:
            target = RestoreTarget(store, city.folder / "evidence", tmp_path, city.policy.source)
            report = Restore(target, desk.queue, city.clock).run(tmp_path / "b.tar")
    finally:
        os.umask(before)
    assert (report.adopted, report.evidence) == (1, len(held))
    files = [file for file in (city.folder / "evidence").rglob("*.*") if file.is_file()]
    masked = city.reader.get(later.id).still.masked_sha256
    assert f"{masked}.jpg" in {file.name for file in files}
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}


def test_a_backup_goes_from_one_database_to_the_other(room, tmp_path, postgresql):
    """Every table has the same rows on the other database, and the journal goes on there."""
    fire = room.opened("fire")
    before = _tables(room.store)
    backed_up(room, tmp_path / "b.tar")
    sqlite = room.databases.kind == "sqlite"
    url = postgresql.new_database() if sqlite else f"sqlite:///{tmp_path / 'other.db'}"
    with Store.open(url) as other:
        target = RestoreTarget(other, tmp_path / "evidence", tmp_path, room.policy.source)
        Restore(target, None, room.clock).run(tmp_path / "b.tar")
    with Store.open(url) as other:
        after = _tables(other)
        assert after["journal"][:-1] == before["journal"]
        assert after["tallies"] == before["tallies"]
        policy, places = room.policy, room.places
        book = IncidentBook(
            other, room.clock, places=places, grids=Grids.none(), evidence=None, policy=policy
        )
        assert book.decide(fire.id, Decision.CONFIRMED, by="op-1").decision is Decision.CONFIRMED
        assert not verify(other, ())
    if sqlite:
        postgresql.drop(url)


@in_memory
def test_a_backup_made_while_others_write_is_of_one_moment(city, desk, tmp_path, restored):
    """The backup ends at a row, has every row up to it and nothing of what came later; writing never waits for it."""
    stop, written = threading.Event(), []

    def writes():
        number = 0
        while not stop.is_set():
            number += 1
            city.opened(f"w{number}", camera=f"camera-{number}")
            written.append(number)

    writer = threading.Thread(target=writes)
    writer.start()
    try:
        reports = [backed_up(city, tmp_path / f"b{number}") for number in range(3)]
    finally:
        stop.set()
        writer.join()
    rows = [report.contents.last_seq for report in reports]
    assert rows == sorted(rows)
    assert written
    journal = _tables(city.store)["journal"]
    new, report = restored(city, tmp_path / "b2", None, starts=False)
    assert report.backed_up == reports[2].contents
    assert report.backed_up.rows == report.backed_up.last_seq
    assert _tables(new.store)["journal"][:-1] == journal[: report.backed_up.rows]


@in_memory
@on_sqlite
def test_a_journal_that_was_changed_in_the_backup_is_refused(city, desk, tmp_path, restored):
    """One row rewritten, all sums made to fit again: the chain tells, and the store takes nothing."""
    backed_up(city, tmp_path / "b")
    with closing(sqlite3.connect(tmp_path / "b" / "gridwatch.db")) as connection:
        connection.execute("UPDATE journal SET actor = 'operator:op-9' WHERE kind = 'confirmed'")
        connection.commit()
    _sum_anew(tmp_path / "b")
    with pytest.raises(BackupDamaged, match="journal"):
        restored(city, tmp_path / "b", desk)


@in_memory
@on_sqlite
def test_a_backup_of_another_journal_than_the_stream_shows_is_refused(city, desk, kit, tmp_path, restored):
    """The whole chain rewritten, and consistent in itself: the stream's copies of it tell."""
    other = kit.Room(_made(tmp_path / "other"), city.clock, city.databases)
    for number in range(3):
        other.opened(f"o{number}", camera=f"camera-{number}")
    backed_up(other, tmp_path / "b")
    with closing(sqlite3.connect(tmp_path / "b" / "gridwatch.db")) as connection:
        connection.execute("UPDATE counter SET epoch = ?", [city.store.epoch])
        connection.execute("UPDATE epochs SET epoch = ?", [city.store.epoch])
        connection.commit()
    other.store.close()
    _sum_anew(tmp_path / "b")
    with pytest.raises(BackupDamaged):
        restored(city, tmp_path / "b", desk)


@in_memory
@on_sqlite
def test_strange_entries_under_our_source_keep_nobody_from_restoring(city, desk, tmp_path, restored):
    """What cannot be read is counted; of an incident that is known its revision counts all the same."""
    backed_up(city, tmp_path / "b")
    epoch, source = city.store.epoch, city.policy.source
    for number, (name, data) in enumerate(
        [
            (f"{city.jam}:7", "{"),
            ("unknown:3", "[]"),
            ("no number", "{}"),
            ("x" * 200 + ":1", "{}"),
            (":4", ""),
        ]
    ):
        place = {"journalepoch": epoch, "journalseq": str(100 + number)}
        desk.other_producer_adds({"source": source, "id": name, "data": data, **place})
    for place in (
        {},
        {"journalepoch": epoch, "journalseq": "9" * 30},
        {"journalepoch": "é", "journalseq": "1"},
    ):
        desk.other_producer_adds({"source": source, "id": "y:1", "data": "{}", **place})
    new, report = restored(city, tmp_path / "b", desk, starts=False)
    assert (report.adopted, report.updated, report.unreadable) == (0, 1, 2)
    with Store.open(new.url) as store, store.read() as connection:
        jam = incident_by_id(connection, store.codec, city.jam)
    assert (jam.queued_revision, jam.alert.revision) == (7, 7 + BESIDE_THE_STREAM.revisions)


def _made(folder):
    folder.mkdir()
    return folder


def _sum_anew(backup):
    """Make the sums of a backup fit what it holds now."""
    lines = (backup / "SHA256SUMS").read_text().splitlines()
    lines[0] = hashlib.sha256((backup / "gridwatch.db").read_bytes()).hexdigest() + "  gridwatch.db"
    (backup / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    manifest = json.loads((backup / "manifest.json").read_text())
    manifest["sums_sha256"] = hashlib.sha256((backup / "SHA256SUMS").read_bytes()).hexdigest()
    (backup / "manifest.json").write_text(json.dumps(manifest))


def _tables(store):
    """Return every row of every table; an incident's text as what it says."""
    found = {}
    with store.read() as connection:
        for name, table in METADATA.tables.items():
            ordered = select(table)
            found[name] = sorted(
                (dict(row) for row in connection.execute(ordered).mappings()),
                key=lambda row, table=table: [str(row[c.name]).rjust(20) for c in table.primary_key],
            )
    for row in found["incidents"]:
        row["state"] = json.loads(row["state"])
    return found
