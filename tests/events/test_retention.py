# SPDX-License-Identifier: AGPL-3.0-or-later
"""Deletion by age: per decision, held by an open case, recorded, bounded; records stay, and so does what others need."""

import os
import threading

import pytest

from events import retention as retention_module
from events.alerts import Decision
from events.errors import EvidenceError, StoreError
from events.evidence import CLEAN, CLIP, MASKED, MASKED_CLIP, Shot
from events.messages import CaseReply
from events.policy import KeepDays
from events.retention import Retention
from gridwatch.core.finding import Stage
from gridwatch.core.zone import Kind

DAY_S = 86_400
KEEP = KeepDays(confirmed=90, pending=60, dismissed=30)


@pytest.fixture
def room(evidence_room):
    return evidence_room


@pytest.fixture
def retention(room):
    return Retention(room.store, room.evidence, KEEP, room.clock)


def opened(room, kit, of="f1", *, seed=1, kind=Kind.FIRE, subtype="flame"):
    """Record an incident with a picture of its own, over at once."""
    alert = room.book.record(
        room.finding(Stage.OPENED, of, kind=kind, subtype=subtype), kit.Picture(seed=seed)
    )
    room.says(Stage.ENDED, of, kind=kind, subtype=subtype)
    room.clock.advance(700)
    return room.reader.get(alert.id)


def decide(room, alert, decision):
    reason = "false_alarm" if decision is Decision.DISMISSED else None
    room.book.decide(alert.id, decision, by="op-1", reason=reason)


def answer(room, alert, word, revision):
    assert room.book.answer(CaseReply.parse(room.reply(alert.id, word, revision))) == "recorded"


def there(room, sha256, suffix):
    try:
        return room.evidence.path(sha256, suffix).is_file()
    except EvidenceError:
        return False


def has_still(room, alert):
    found = {
        there(room, sha256, suffix)
        for sha256, suffix in ((alert.still.sha256, CLEAN), (alert.still.masked_sha256, MASKED))
    }
    assert len(found) == 1
    return found.pop()


@pytest.mark.parametrize(
    ("decision", "days"), [(Decision.PENDING, 60), (Decision.CONFIRMED, 90), (Decision.DISMISSED, 30)]
)
def test_evidence_is_kept_as_long_as_its_decision_says_and_no_longer(room, kit, retention, decision, days):
    """On the day before, everything is there; on the day, still and clip are gone, and the record says so."""
    alert = opened(room, kit)
    room.book.attach_clip(alert.id, b"mp4")
    if decision is not Decision.PENDING:
        decide(room, alert, decision)
    room.clock.advance((days - 1) * DAY_S)
    assert retention.step().removed.files == 0
    assert has_still(room, alert)
    room.clock.advance(DAY_S)
    swept = retention.step()
    assert (swept.removed.files, swept.more) == (3, False)
    assert not has_still(room, alert)
    after = room.reader.get(alert.id)
    assert not there(room, after.clip.sha256, CLIP)
    assert (after.still, after.decision) == (alert.still, decision)  # the record keeps the hashes
    row = room.reader.timeline(alert.id)[-1]
    assert (row.kind, row.actor, row.payload["reason"], row.message_id) == (
        "evidence",
        "machine",
        "retention",
        None,
    )
    assert {(one["sha256"], one["suffix"]) for one in row.payload["deleted"]} == {
        (alert.still.sha256, CLEAN),
        (alert.still.masked_sha256, MASKED),
        (after.clip.sha256, CLIP),
    }
    assert (retention.deleted_files, retention.freed_bytes) == (3, swept.removed.bytes)
    assert retention.step().removed.files == 0  # once


@pytest.mark.parametrize("word", ["accepted", "returned"])
def test_an_open_case_holds_its_evidence_until_it_is_over(room, kit, retention, word):
    """However old it is; a receipt alone opens no case."""
    held, told = opened(room, kit, "f1", seed=1), opened(room, kit, "f2", seed=2)
    answer(room, held, "reported", 1)
    answer(room, held, word, 2)
    reply = room.reply(told.id, "reported", 1, case_id="AJ-2")
    assert room.book.answer(CaseReply.parse(reply)) == "recorded"
    room.clock.advance(1_000 * DAY_S)
    retention.step()
    assert (has_still(room, held), has_still(room, told)) == (True, False)
    if word == "accepted":
        answer(room, held, "closed", 3)
    else:
        answer(room, held, "voided", 3)
    retention.step()
    assert not has_still(room, held)


def test_a_file_that_two_incidents_share_stays_for_the_one_that_keeps_it(room, kit, retention):
    """The dismissed one has it no longer; the bytes go with the last."""
    smoke = opened(room, kit, "s", kind=Kind.SMOKE, subtype="smoke")
    fire = opened(room, kit, "f")
    assert smoke.still.sha256 == fire.still.sha256
    decide(room, smoke, Decision.DISMISSED)
    room.clock.advance(31 * DAY_S)
    swept = retention.step()
    assert (swept.removed.files, swept.removed.bytes) == (2, 0)
    assert has_still(room, fire)
    room.clock.advance(60 * DAY_S)
    assert retention.step().removed.bytes > 0
    assert not has_still(room, fire)


def test_a_step_is_bounded_and_the_next_one_goes_on(room, kit, retention, monkeypatch):
    """Old evidence that is kept does not keep a step from reaching what is behind it."""
    monkeypatch.setattr(retention_module, "LOOKED_AT", 2)
    kept = opened(room, kit, "f1", seed=1)
    decide(room, kept, Decision.CONFIRMED)
    old = opened(room, kit, "f2", seed=2)
    room.clock.advance(61 * DAY_S)
    steps = [retention.step() for _ in range(3)]
    assert [step.looked_at for step in steps] == [2, 2, 0]
    assert [step.removed.files for step in steps] == [0, 2, 0]
    assert [step.more for step in steps] == [True, True, False]
    assert (has_still(room, kept), has_still(room, old)) == (True, False)


def test_what_is_decided_between_look_and_deletion_is_kept(room, kit, retention, monkeypatch):
    """A confirmation that arrives meanwhile keeps the evidence that a pending alert would lose."""
    alert = opened(room, kit)
    room.clock.advance(61 * DAY_S)
    look = retention_module.files.stored_until

    def confirmed_meanwhile(*args):
        found = look(*args)
        room.book.decide(alert.id, Decision.CONFIRMED, by="op-1")
        return found

    monkeypatch.setattr(retention_module.files, "stored_until", confirmed_meanwhile)
    assert retention.step().removed.files == 0
    assert has_still(room, alert)


def test_a_crash_between_file_and_row_is_made_good_by_the_next_pass(room, kit, retention, monkeypatch):
    """The file went, the row did not: the next step writes it, and the journal tells each deletion once."""
    alert = opened(room, kit)
    room.clock.advance(61 * DAY_S)

    def dies(*_args):
        raise StoreError("the process died here")

    with monkeypatch.context() as patched:
        patched.setattr(retention_module.files, "mark_deleted", dies)
        with pytest.raises(StoreError):
            retention.step()
    assert not has_still(room, alert)
    assert room.kinds(alert.id)[-1] != "evidence"
    assert retention.step().removed.files == 2
    assert room.kinds(alert.id).count("evidence") == 1


def test_one_file_that_cannot_be_deleted_stops_no_other(room, kit, retention, monkeypatch):
    """It is counted and tried again; its row says that it is there as long as it is."""
    bad, good = opened(room, kit, "f1", seed=1), opened(room, kit, "f2", seed=2)
    room.clock.advance(61 * DAY_S)
    discard = room.evidence.discard

    def refuses(sha256):
        if sha256 == bad.still.sha256:
            raise EvidenceError("evidence cannot be deleted: not permitted")
        return discard(sha256)

    with monkeypatch.context() as patched:
        patched.setattr(room.evidence, "discard", refuses)
        assert retention.step().removed.files == 3
    assert there(room, bad.still.sha256, CLEAN)
    assert not has_still(room, good)
    assert retention.step().removed.files == 1
    assert not has_still(room, bad)


def test_the_same_picture_stored_again_has_a_new_time(room, kit, retention):
    """What was deleted by age and came again is kept as long as anything new."""
    first = opened(room, kit, "f1", seed=1)
    room.clock.advance(61 * DAY_S)
    retention.step()
    again = opened(room, kit, "f2", seed=1)
    assert again.still.sha256 == first.still.sha256
    room.clock.advance(59 * DAY_S)
    assert retention.step().removed.files == 0
    assert has_still(room, again)


def test_a_file_that_no_row_names_goes_when_nothing_is_kept_so_long(room, kit, retention):
    """What a crash left between file and row, half written or whole; never what a row names or what is new."""
    alert = opened(room, kit)
    decide(room, alert, Decision.CONFIRMED)
    answer(room, alert, "accepted", 1)
    stray = room.evidence.put_clip(b"stray")
    room.again()  # the process that knew of it is gone
    half = room.evidence.path(stray, CLIP).with_name(".new-1")
    half.write_bytes(b"half")
    files = [half, *(room.evidence._folder.rglob("*.*"))]
    retention = Retention(room.store, room.evidence, KEEP, room.clock)
    assert sweep(retention, stray, alert.still.sha256, alert.still.masked_sha256) == 0
    assert (there(room, stray, CLIP), half.exists()) == (True, True)
    room.clock.advance(91 * DAY_S)
    for file in files:
        os.utime(file, (kit.START.timestamp(), kit.START.timestamp()))
    assert sweep(retention, stray, alert.still.sha256, alert.still.masked_sha256) == 1
    assert (there(room, stray, CLIP), half.exists(), has_still(room, alert)) == (False, False, True)


def sweep(retention, *hashes):
    """Let it look at the folders of these hashes; return how many files went that no row names."""
    stray = 0
    for shard in {int(sha256[:2], 16) for sha256 in hashes}:
        retention._shard = shard
        stray += retention.step().stray
    return stray


def test_every_folder_is_looked_through_in_turn(retention, monkeypatch):
    """One a step, so that no step takes long; after the last comes the first."""
    looked = []
    monkeypatch.setattr(retention._evidence, "older", lambda shard, _before: looked.append(shard) or iter(()))
    monkeypatch.setattr(retention_module, "SHARDS", 3)
    for _ in range(4):
        retention.step()
    assert looked == [0, 1, 2, 0]


def test_room_is_made_ahead_of_need(room, kit, retention):
    """A step frees what dismissed incidents left before the cap is reached, so that no new picture has to wait."""
    old, new = opened(room, kit, "f1", seed=1), opened(room, kit, "f2", seed=2)
    for alert in (old, new):
        decide(room, alert, Decision.DISMISSED)
    used = sum(file.stat().st_size for file in room.evidence._folder.rglob("*") if file.is_file())
    room.evidence._max_bytes = used
    assert retention.step().more
    assert (has_still_any(room, old), has_still(room, new)) == (False, True)
    assert room.reader.timeline(old.id)[-1].payload["reason"] == "disk_full"
    assert not retention.step().more


def has_still_any(room, alert):
    return there(room, alert.still.sha256, CLEAN) and there(room, alert.still.masked_sha256, MASKED)


def test_the_worker_outlives_a_store_that_is_away(room, kit, monkeypatch):
    """It goes on when the store is back."""
    monkeypatch.setattr(retention_module, "AWAY_PAUSE_S", 0.01)
    alert = opened(room, kit)
    room.clock.advance(61 * DAY_S)
    stop, tries = threading.Event(), []
    retention = Retention(room.store, room.evidence, KEEP, room.clock)
    step = retention.step

    def away_twice():
        tries.append(1)
        if len(tries) <= 2:
            raise StoreError("away") if len(tries) == 1 else ValueError("a bad row")
        stop.set()
        return step()

    monkeypatch.setattr(retention, "step", away_twice)
    retention.run(stop)
    assert (len(tries), has_still(room, alert)) == (3, False)


def test_the_clip_that_may_leave_goes_with_the_clip_that_it_was_made_of(room, kit, retention):
    """Asking for it late does not keep it longer; once the clip is gone none is attached."""
    alert = opened(room, kit)
    room.book.attach_clip(alert.id, b"mp4")
    room.clock.advance(50 * DAY_S)
    sha256 = room.book.attach_masked_clip(alert.id, b"masked", asked_by="op-1")
    now = room.reader.get(alert.id)
    assert (now.clip.masked_sha256, now.revision) == (sha256, alert.revision)
    assert there(room, sha256, MASKED_CLIP)
    row = room.reader.timeline(alert.id)[-1]
    assert (row.payload["reason"], row.payload["asked_by"], row.payload["masked_clip"]) == (
        "to_leave",
        "op-1",
        sha256,
    )
    room.clock.advance(10 * DAY_S)
    retention.step()
    assert not there(room, sha256, MASKED_CLIP)
    assert room.book.attach_masked_clip(alert.id, b"late", asked_by="op-1") is None


def test_what_the_main_stream_showed_goes_with_the_rest(room, kit, retention):
    """A larger still in both forms and a second clip are kept as long as any evidence, and no longer."""
    alert = opened(room, kit)
    room.book.attach_detail(alert.id, Shot(kit.Picture(seed=7), (), kit.START), b"main")
    kept = room.reader.get(alert.id).detail
    files = [(kept.still.sha256, CLEAN), (kept.still.masked_sha256, MASKED), (kept.clip_sha256, CLIP)]
    room.clock.advance(59 * DAY_S)
    retention.step()
    assert [there(room, *file) for file in files] == [True] * 3
    room.clock.advance(2 * DAY_S)
    retention.step()
    assert [there(room, *file) for file in files] == [False] * 3


def test_messages_promise_no_more_than_is_kept(room, kit, retention):
    """`expires_at` of a message is never later than the day on which its picture is deleted."""
    import json

    room.policy = kit.replace(room.policy, keep_days=KEEP)
    room.again()
    alert = opened(room, kit)
    decide(room, alert, Decision.DISMISSED)
    data = json.loads(room.reader.newest_message().data)
    assert data["retain_until"] == data["media"][0]["expires_at"] == "2026-12-26T09:00:00.000+08:00"


def test_what_a_test_camera_did_is_kept_for_a_week(room, kit):
    """An exercise on a machine that works for real goes after seven days; of other machines nothing changes."""
    exercise = opened(room, kit, "f1", seed=1)
    with room.store.write() as tx:
        incident = tx.incident(exercise.id)
        tx.save(kit.replace(incident, alert=kit.replace(incident.alert, run_mode="exercise")))
    actual = opened(room, kit, "f2", seed=2)
    room.clock.advance(8 * DAY_S)
    Retention(room.store, room.evidence, KEEP, room.clock, run_mode="exercise").step()
    Retention(room.store, room.evidence, KEEP, room.clock).step()
    assert has_still(room, exercise)
    Retention(room.store, room.evidence, KEEP, room.clock, run_mode="actual").step()
    assert not has_still(room, exercise)
    assert has_still(room, actual)
