# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the store keeps beside the incidents: how many there are of each sort, and which files belong to which."""

from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from events.alerts import Decision
from events.messages import CaseReply
from events.stores.schema import EVIDENCE, INCIDENTS, TALLIED, TALLIES
from events.times import utc_text
from gridwatch.core.finding import Stage
from gridwatch.core.zone import Kind

STILL, CLIP = "a" * 64, "b" * 64


def counted_anew(room):
    """Count the incidents themselves."""
    found = []
    with room.store.read() as connection:
        for name in TALLIED:
            column = INCIDENTS.c[name]
            found.append(dict(connection.execute(select(column, func.count()).group_by(column)).all()))
    return found


def kept(room):
    counts = room.reader.counts()
    return [counts.by_kind, counts.by_activity, counts.by_decision, counts.by_case]


def test_tallies_follow_every_change_of_an_incident(room):
    """Opened, decided, changed, ended, answered, unseen at a restart: the tallies are what a count would say."""
    first, second = room.opened("a"), room.opened("b", kind=Kind.SMOKE, subtype="smoke")
    assert kept(room) == counted_anew(room)
    room.book.decide(first.id, Decision.CONFIRMED, by="op-1")
    room.book.decide(second.id, Decision.DISMISSED, by="op-1", reason="drill")
    assert kept(room) == counted_anew(room)
    room.says(Stage.ENDED, "b", kind=Kind.SMOKE, subtype="smoke")
    room.says(Stage.UPDATED, "a", count=4)  # a fact alone moves no tally
    room.book.answer(CaseReply.parse(room.reply(first.id, "accepted", 1)))
    assert kept(room) == counted_anew(room)
    room.again()
    assert kept(room) == counted_anew(room)
    assert room.reader.counts().by_activity == {"unseen": 1, "ended": 1}


def test_what_is_rolled_back_is_not_counted(room, kit):
    """A write that fails moves no tally."""
    room.opened("a")
    before = kept(room)

    def fail():
        with room.store.write() as tx:
            incident = tx.latest(room.finding().camera_id, Kind.FIRE, "flame", "actual")
            tx.save(kit.replace(incident, alert=kit.replace(incident.alert, decision=Decision.CONFIRMED)))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert kept(room) == before == counted_anew(room)


def test_one_transaction_that_saves_twice_counts_once(room, kit):
    """Several saves of one incident within a transaction move the tallies from the first state to the last."""
    alert = room.opened("a")
    with room.store.write() as tx:
        incident = tx.incident(alert.id)
        for decision in (Decision.CONFIRMED, Decision.DISMISSED, Decision.CONFIRMED):
            incident = kit.replace(incident, alert=kit.replace(incident.alert, decision=decision))
            tx.save(incident)
    assert kept(room) == counted_anew(room)
    assert room.reader.counts().by_decision == {"confirmed": 1}


def test_a_value_that_nothing_holds_any_more_is_missing(room):
    """What fell to zero is not listed."""
    alert = room.opened("a")
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-1")
    with room.store.read() as connection:
        zero = connection.execute(select(TALLIES.c.value).where(TALLIES.c.count == 0)).scalars().all()
    assert zero == ["pending"]
    assert room.reader.counts().by_decision == {"confirmed": 1}


def files_of(room, incident_id):
    with room.store.read() as connection:
        found = select(EVIDENCE).where(EVIDENCE.c.incident_id == incident_id).order_by(EVIDENCE.c.sha256)
        return [dict(row) for row in connection.execute(found).mappings()]


def test_files_are_listed_with_their_incidents(room, clock):
    """A file may belong to several incidents; noting it again changes nothing."""
    now, later = clock.now(), clock.now() + timedelta(seconds=5)
    with room.store.write() as tx:
        tx.note_evidence("i1", [(STILL, ".jpg", 10), (CLIP, ".mp4", None)], now)
        tx.note_evidence("i2", [(STILL, ".jpg", 10)], now)
    with room.store.write() as tx:
        tx.note_evidence("i1", [(STILL, ".jpg", 10)], later)
    still, clip = files_of(room, "i1")
    assert (still["sha256"], still["suffix"], still["bytes"]) == (STILL, ".jpg", 10)
    assert (clip["suffix"], clip["bytes"]) == (".mp4", None)
    assert still["stored_at"] == utc_text(now)
    assert [row["sha256"] for row in files_of(room, "i2")] == [STILL]


def test_a_deleted_file_that_is_stored_again_is_there_again(room, clock):
    """The same picture may come again after retention took it: its row says since when, and no more that it is gone."""
    with room.store.write() as tx:
        tx.note_evidence("i1", [(STILL, ".jpg", 10)], clock.now())
        gone = {"deleted_at": utc_text(clock.now()), "deleted_why": "retention"}
        tx._connection.execute(update(EVIDENCE).values(gone))
    clock.advance(60)
    with room.store.write() as tx:
        tx.note_evidence("i1", [(STILL, ".jpg", 10)], clock.now())
    (row,) = files_of(room, "i1")
    assert (row["deleted_at"], row["deleted_why"], row["stored_at"]) == (None, None, utc_text(clock.now()))
