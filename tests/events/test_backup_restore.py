# SPDX-License-Identifier: AGPL-3.0-or-later
"""Run, send, back up, go on, lose the store, restore, go on: who has only the stream sees one gridwatch."""

import pytest

from events.alerts import Activity, AlertFilter, CaseState, Decision
from events.audit import Copy, verify
from events.exchange import Exchange
from events.reading import AlertReader
from events.restoring import UNSEEN_STREAM
from gridwatch.core.errors import InputError
from gridwatch.core.finding import Stage
from gridwatch.core.zone import Kind
from tests.events.restoring_kit import (
    Consumer,
    answers,
    backed_up,
    cut,
    goes_on,
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


def test_what_was_told_is_known_again_and_goes_on(city, desk, kit, tmp_path, restored):
    """No id is told twice, no revision falls, every incident is complete, and nothing that anybody decided is undone."""
    consumer = Consumer()
    backed_up(city, tmp_path / "b.tar")
    crowd = goes_on(city, desk, kit)
    consumer.reads(desk.entries())
    told = dict(consumer.revision)
    city.clock.advance(60)
    city.opened("lost", camera="never-sent")  # recorded, and lost with the store before the relay came by

    new, report = restored(city, tmp_path / "b.tar", desk)
    assert (report.adopted, report.updated) == (1, 2)
    fire, jam, found = (new.reader.get(one) for one in (city.fire, city.jam, crowd))
    assert fire.activity is Activity.ENDED
    assert (jam.decision, jam.decided.by, jam.decided.reason) == (Decision.DISMISSED, "op-2", "harmless")
    assert (found.decision, found.decided.note) == (Decision.CONFIRMED, "真的")
    assert all(one.revision > told[one.id] for one in (fire, jam, found))
    answers(new, desk)
    assert new.reader.get(city.fire).case is CaseState.DISPATCHED
    assert new.reader.get(crowd).case is CaseState.ACCEPTED

    new.clock.advance(120)
    new.book.decide(city.smoke, Decision.CONFIRMED, by="op-3")
    new.book.decide(city.jam, Decision.CONFIRMED, by="op-3", reason="doch")
    new.says(Stage.UPDATED, "crowd", camera=kit.MARKET, kind=Kind.CROWD, subtype="count", count=40)
    after = new.opened("next", camera="elsewhere")
    sends(new, desk)
    consumer.reads(desk.entries())
    assert set(consumer.revision) == {city.fire, city.jam, city.smoke, crowd, after.id}
    assert consumer.data[city.jam]["decision"] == "confirmed"
    assert consumer.data[crowd]["decision"] == "confirmed"
    assert consumer.data[city.fire]["activity"] == "ended"
    found = verify(new.store, filter(None, map(Copy.of, desk.entries())), source=city.policy.source)
    assert not found
    assert (found.left_behind, found.foreign) == (4, 0)


@in_memory
def test_what_waited_in_the_backup_is_sent_as_it_was_recorded(city, desk, tmp_path, restored):
    """A store lost at once: its backlog leaves after the restore with the bytes of before, and then what is new."""
    consumer = Consumer()
    waiting = AlertReader(city.store).messages_after(0, 100)[-1].fields()
    backed_up(city, tmp_path / "b")
    new, report = restored(city, tmp_path / "b", desk)
    assert (report.adopted, report.updated) == (0, 0)
    new.book.decide(city.smoke, Decision.CONFIRMED, by="op-1")
    sends(new, desk)
    assert waiting in desk.entries()
    consumer.reads(desk.entries())
    assert consumer.data[city.smoke]["decision"] == "confirmed"


@pytest.mark.parametrize("lost", ["marks", "stream"])
def test_a_queue_that_lost_its_memory_too_is_brought_level(city, desk, kit, tmp_path, restored, lost):
    """Without marks nothing is told twice; an empty stream gets everything that the journal holds, in order."""
    consumer = Consumer(strict=lost == "marks")
    backed_up(city, tmp_path / "b")
    goes_on(city, desk, kit)
    consumer.reads(desk.entries())
    desk.lose_marks()
    if lost == "stream":
        desk.lose_tail(0)
        consumer.read = 0
        consumer.revision.clear()
        consumer.seq = 0
    new, _ = restored(city, tmp_path / "b", desk)
    new.book.decide(city.smoke, Decision.CONFIRMED, by="op-1")
    sends(new, desk)
    consumer.reads(desk.entries())
    assert consumer.data[city.smoke]["decision"] == "confirmed"
    assert {city.fire, city.jam, city.smoke} <= set(consumer.revision)


@in_memory
@on_sqlite
def test_other_producers_in_the_stream_are_left_alone(city, desk, kit, tmp_path, restored):
    """Entries of others, and strange ones under our source, are no incidents of ours."""
    backed_up(city, tmp_path / "b")
    desk.other_producer_adds(
        {"source": "urn:other", "id": "x:9", "journalepoch": "e", "journalseq": "99999999"}
    )
    crowd = goes_on(city, desk, kit)
    desk.other_producer_adds({"note": "no CloudEvent"})
    new, report = restored(city, tmp_path / "b", desk)
    assert report.adopted == 1
    assert new.reader.last_seq() < 99_999_999
    assert new.reader.get(crowd).kind is Kind.CROWD


@in_memory
@on_sqlite
def test_without_the_queue_rows_and_revisions_jump_further(city, desk, kit, tmp_path, restored):
    """Nobody knows what was told: ids stay apart and revisions rise all the same, and nothing is adopted."""
    consumer = Consumer(strict=False)
    report = backed_up(city, tmp_path / "b")
    crowd = goes_on(city, desk, kit)
    consumer.reads(desk.entries())
    new, done = restored(city, tmp_path / "b", None)
    assert done.epoch.first_seq == report.contents.last_seq + UNSEEN_STREAM.rows + 1
    assert done.adopted == done.updated == 0
    new.book.decide(city.jam, Decision.CONFIRMED, by="op-1")
    new.book.decide(city.smoke, Decision.CONFIRMED, by="op-1")
    sends(new, desk)
    consumer.reads(desk.entries())
    assert consumer.revision[city.jam] > UNSEEN_STREAM.revisions
    assert crowd not in {alert.id for alert in new.reader.list(AlertFilter(), None, 500).items}


@in_memory
@on_sqlite
def test_what_was_read_over_http_before_the_stream_had_it_is_not_told_again(
    city, desk, kit, tmp_path, restored
):
    """The queue is away, and a program reads messages by the door: their ids are not used again, its place stays good."""
    consumer, door = Consumer(strict=False), Exchange(AlertReader(city.store), city.book)
    backed_up(city, tmp_path / "b")
    for _ in range(6):
        city.book.decide(city.fire, Decision.DISMISSED, by="op-1", reason="drill")
        city.book.decide(city.fire, Decision.CONFIRMED, by="op-1", reason="doch nicht")
    page = door.messages(0, None, 500)
    consumer.reads([message.fields() for message in page.messages])
    new, _ = restored(city, tmp_path / "b", desk)
    new.book.decide(city.fire, Decision.DISMISSED, by="op-2", reason="harmless")
    again = Exchange(new.reader, new.book).messages(page.next, None, 500)
    consumer.read = 0
    consumer.reads([message.fields() for message in again.messages])
    assert consumer.data[city.fire]["decision_reason"] == "harmless"


@on_sqlite
def test_a_second_restore_of_the_same_backup_must_name_the_first(city, desk, kit, tmp_path, restored):
    """The stream shows an epoch that the backup never heard of: refused, until somebody says that its store is gone."""
    consumer = Consumer()
    backed_up(city, tmp_path / "b")
    goes_on(city, desk, kit)
    first, _ = restored(city, tmp_path / "b", desk)
    lost = first.opened("between", camera="elsewhere").id
    sends(first, desk)
    consumer.reads(desk.entries())
    with pytest.raises(InputError, match=f"--follow {first.store.epoch}"):
        restored(first, tmp_path / "b", desk)
    second, report = restored(first, tmp_path / "b", desk, follow=[first.store.epoch])
    assert report.adopted == 2
    assert second.reader.get(lost).activity is Activity.UNSEEN
    second.book.decide(lost, Decision.CONFIRMED, by="op-1")
    sends(second, desk)
    consumer.reads(desk.entries())
    assert consumer.data[lost]["decision"] == "confirmed"
    copies = [*filter(None, map(Copy.of, desk.entries()))]
    assert not verify(second.store, copies, source=city.policy.source)  # both lost stores are known to it


def tells(room, desk, incident, first, *words, case_id="AJ-1"):
    """Let the case system answer, a minute apart, and read it."""
    for number, word in enumerate(words, first):
        room.clock.advance(60)
        unit = (
            {"unit": {"code": "U1", "name": "综合执法"}}
            if word in ("dispatched", "signed", "handled")
            else {}
        )
        at = room.clock.now().isoformat()
        desk.answer(room.reply(incident, word, number, case_id=case_id, at=at, **unit))
    answers(room, desk)


@in_memory
@on_sqlite
@pytest.mark.parametrize("known", [True, False], ids=["in the backup", "only in the stream"])
def test_answers_that_are_read_again_tell_no_rework_that_never_was(
    city, desk, kit, tmp_path, restored, known
):
    """What led to the case as it was told brings back its units and revisions, moves nothing, and is not flagged."""
    backed_up(city, tmp_path / "b")
    city.clock.advance(3600)
    name, case_id = (city.fire, "AJ-1") if known else (goes_on(city, desk, kit), "AJ-2")
    words = ("dispatched", "signed", "handled", "dispatched", "handled", "verified")
    tells(city, desk, name, 2, *words, case_id=case_id)
    city.book.decide(name, Decision.DISMISSED, by="op-1", reason="drill")  # a message that tells the case
    sends(city, desk)
    before = city.reader.get(name)
    assert (before.case, before.handling.reworks) == (CaseState.VERIFIED, 1)

    new, _ = restored(city, tmp_path / "b", desk)
    adopted = new.reader.get(name)
    answers(new, desk)
    after = new.reader.get(name)
    assert (after.case, after.handling, after.revision) == (
        CaseState.VERIFIED,
        before.handling,
        adopted.revision,
    )
    flags = [row.payload.get("flag") for row in new.reader.timeline(name) if row.kind == "case"]
    assert set(flags) == {None}
    tells(new, desk, name, 8, "dispatched", "handled", "closed", case_id=case_id)
    assert (new.reader.get(name).case, new.reader.get(name).handling.reworks) == (CaseState.CLOSED, 2)


@in_memory
@on_sqlite
def test_an_adopted_case_goes_on_where_answers_are_gone(city, desk, kit, tmp_path, restored):
    """The answers that led there were trimmed away: the next one goes on from what was told."""
    backed_up(city, tmp_path / "b")
    tells(city, desk, city.fire, 2, "dispatched", "closed")
    city.book.decide(city.fire, Decision.DISMISSED, by="op-1", reason="drill")
    sends(city, desk)
    new, _ = restored(city, tmp_path / "b", desk)
    del desk.queue._replies[:]
    tells(new, desk, city.fire, 4, "reopened")
    alert = new.reader.get(city.fire)
    assert (alert.case, alert.handling.reworks) == (CaseState.REOPENED, 0)
    assert [row.payload.get("flag") for row in new.reader.timeline(city.fire) if row.kind == "case"][
        -1
    ] is None


@in_memory
@on_sqlite
def test_trimmed_messages_are_admitted_and_their_revisions_not_used_again(
    city, desk, kit, tmp_path, restored
):
    """The stream was cut since the backup: the report says that it may not tell all, and revisions lie above all the same."""
    consumer = Consumer()
    backed_up(city, tmp_path / "b")
    goes_on(city, desk, kit)
    consumer.reads(desk.entries())
    cut(desk, keep=1)
    new, report = restored(city, tmp_path / "b", desk)
    assert report.trimmed
    new.book.decide(city.jam, Decision.CONFIRMED, by="op-1")
    sends(new, desk)
    consumer.read, consumer.strict = 1, False
    consumer.reads(desk.entries())
    assert consumer.data[city.jam]["decision"] == "confirmed"


@in_memory
@on_sqlite
def test_a_restored_store_is_backed_up_and_restored_again(city, desk, kit, tmp_path, restored):
    """Epoch after epoch: what was adopted once is not adopted again, and the consumer sees one gridwatch all along."""
    consumer = Consumer()
    backed_up(city, tmp_path / "b1")
    goes_on(city, desk, kit)
    second, _ = restored(city, tmp_path / "b1", desk)
    second.book.decide(city.smoke, Decision.CONFIRMED, by="op-1")
    sends(second, desk)
    backed_up(second, tmp_path / "b2")
    second.book.decide(city.smoke, Decision.DISMISSED, by="op-1", reason="drill")
    sends(second, desk)
    third, report = restored(second, tmp_path / "b2", desk)
    assert (report.adopted, report.updated) == (0, 1)
    assert [one.epoch for one in third.reader.epochs()] == [
        city.store.epoch,
        second.store.epoch,
        third.store.epoch,
    ]
    third.book.decide(city.smoke, Decision.CONFIRMED, by="op-1", reason="nochmals geprüft")
    sends(third, desk)
    consumer.reads(desk.entries())
    assert consumer.data[city.smoke]["decision"] == "confirmed"
    assert not verify(third.store, ())


@in_memory
@on_sqlite
def test_what_a_restore_without_the_queue_missed_a_later_one_adopts(city, desk, kit, tmp_path, restored):
    """The stream still tells of rows that the first restore left behind; the second one asks it."""
    consumer = Consumer(strict=False)
    backed_up(city, tmp_path / "b1")
    crowd = goes_on(city, desk, kit)
    second, _ = restored(city, tmp_path / "b1", None)
    sends(second, desk)
    backed_up(second, tmp_path / "b2")
    third, report = restored(second, tmp_path / "b2", desk)
    assert report.adopted == 1
    third.book.decide(crowd, Decision.DISMISSED, by="op-1", reason="drill")
    sends(third, desk)
    consumer.reads(desk.entries())
    assert consumer.data[crowd]["decision"] == "dismissed"
