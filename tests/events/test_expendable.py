# SPDX-License-Identifier: AGPL-3.0-or-later
"""A full evidence folder: what dismissed incidents left goes first, the oldest first; nothing that is shared or held, no record."""

import pytest

from events import expendable as expendable_module
from events.alerts import Decision
from events.errors import EvidenceError
from events.evidence import CLEAN, CLIP, MASKED
from events.messages import CaseReply
from gridwatch.core.finding import Box, Stage
from gridwatch.core.zone import Kind


@pytest.fixture
def room(evidence_room):
    return evidence_room


def opened(room, kit, of, *, seed, kind=Kind.FIRE, subtype="flame", ends=True):
    """Record an incident with a picture of its own, over at once."""
    alert = room.book.record(
        room.finding(Stage.OPENED, of, kind=kind, subtype=subtype), kit.Picture(seed=seed)
    )
    if ends:
        room.says(Stage.ENDED, of, kind=kind, subtype=subtype)
        room.clock.advance(700)
    return alert


def dismiss(room, alert):
    room.book.decide(alert.id, Decision.DISMISSED, by="op-1", reason="false_alarm")


def fill_up(room):
    """Let the cap be what lies there now, so that the next file does not fit."""
    folder = room.folder / "evidence"
    room.evidence._max_bytes = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    room.evidence._used_bytes = None


def kept(room, alert):
    found = []
    for sha256, suffix in ((alert.still.sha256, CLEAN), (alert.still.masked_sha256, MASKED)):
        try:
            room.evidence.path(sha256, suffix)
        except EvidenceError:
            found.append(False)
        else:
            found.append(True)
    return found


def test_a_new_fire_gets_its_picture_from_the_oldest_dismissed(room, kit):
    """At the cap the oldest dismissed evidence makes room; later dismissed, pending and confirmed evidence stays."""
    pending, old, new, confirmed = (opened(room, kit, f"f{number}", seed=number) for number in range(4))
    room.book.decide(confirmed.id, Decision.CONFIRMED, by="op-1")
    dismiss(room, new)
    dismiss(room, old)
    fill_up(room)
    rows = room.reader.last_seq()
    fire = opened(room, kit, "fire", seed=9, ends=False)
    assert fire.still is not None
    assert kept(room, fire) == [True, True]
    assert (kept(room, pending), kept(room, confirmed), kept(room, new)) == ([True, True],) * 3
    assert False in kept(room, old)
    assert room.book.refused_evidence == 0
    assert room.reader.get(old.id).still == old.still  # the record stays, and names what it had
    gone, opening = room.reader.rows_after(rows, 10)  # what made room is recorded before what needed it
    assert (gone.incident_id, gone.kind, gone.payload["reason"]) == (old.id, "evidence", "disk_full")
    assert {one["sha256"] for one in gone.payload["deleted"]} == {old.still.sha256, old.still.masked_sha256}
    assert (opening.incident_id, gone.message_id) == (fire.id, None)


def test_what_another_incident_shares_stays(room, kit):
    """The picture of a dismissed incident that shows a fire as well is kept for the fire."""
    smoke = opened(room, kit, "s", seed=1, kind=Kind.SMOKE, subtype="smoke", ends=False)
    fire = opened(room, kit, "f", seed=1, ends=False)
    assert smoke.still.sha256 == fire.still.sha256
    dismiss(room, smoke)
    fill_up(room)
    room.clock.advance(700)
    crowd = opened(room, kit, "c", seed=2, kind=Kind.CROWD, subtype="count", ends=False)
    assert crowd.still is None
    assert (kept(room, fire), room.book.refused_evidence) == ([True, True], 1)


def test_without_dismissed_evidence_a_full_folder_refuses_and_is_not_searched_each_time(
    room, kit, monkeypatch
):
    """Nothing but dismissed evidence goes; the store is asked again only after a minute."""
    pending = opened(room, kit, "p", seed=1)
    fill_up(room)
    searched, look = [], expendable_module.files.stored_until
    monkeypatch.setattr(
        expendable_module.files, "stored_until", lambda *args: searched.append(1) or look(*args)
    )
    for number in (2, 3):
        alert = opened(room, kit, f"f{number}", seed=number, ends=False)
        room.says(Stage.ENDED, f"f{number}")
        room.clock.advance(20)
    assert (alert.still, len(searched), kept(room, pending)) == (None, 1, [True, True])
    dismiss(room, pending)
    room.clock.advance(41)
    assert opened(room, kit, "late", seed=4).still is not None


def test_a_clip_makes_room_too(room, kit):
    """A clip that does not fit takes the place of a dismissed incident's evidence."""
    old = opened(room, kit, "f1", seed=1)
    dismiss(room, old)
    fire = opened(room, kit, "f2", seed=2, ends=False)
    fill_up(room)
    room.book.attach_clip(fire.id, b"mp4")
    assert room.evidence.path(room.reader.get(fire.id).clip.sha256, CLIP).read_bytes() == b"mp4"


def test_what_was_put_just_now_is_not_discarded(evidence_room, kit):
    """A file whose row may not be written yet is left alone; once a row names it, it may go."""
    evidence = evidence_room.evidence
    still = evidence.put_still(kit.Picture(), [Box(0.1, 0.1, 0.2, 0.2, "fire", 0.9)], kit.START)
    assert evidence.discard(still.sha256) == 0
    assert evidence.path(still.sha256, CLEAN).is_file()
    evidence.named([still.sha256])
    assert evidence.discard(still.sha256) > 0
    with pytest.raises(EvidenceError):
        evidence.path(still.sha256, CLEAN)


def test_an_open_case_keeps_its_evidence_though_the_alert_was_dismissed(room, kit):
    """What the case system works on is not taken away to make room."""
    old = opened(room, kit, "old", seed=1)
    dismiss(room, old)
    room.book.answer(CaseReply.parse(room.reply(old.id, "accepted", 1)))
    fill_up(room)
    assert opened(room, kit, "fire", seed=2, ends=False).still is None
    assert kept(room, old) == [True, True]


def test_pictures_that_only_dismissed_incidents_share_go(room, kit):
    """The last of them takes the file with it."""
    smoke = opened(room, kit, "s", seed=1, kind=Kind.SMOKE, subtype="smoke")
    fire = opened(room, kit, "f", seed=1)
    for alert in (smoke, fire):
        dismiss(room, alert)
    fill_up(room)
    assert opened(room, kit, "late", seed=2, ends=False).still is not None
    assert False in kept(room, fire)
    assert room.kinds(smoke.id)[-1] == room.kinds(fire.id)[-1] == "evidence"


def test_no_more_goes_than_is_needed(room, kit):
    """One picture makes room for one picture; the other dismissed ones stay for who asks about them."""
    olds = [opened(room, kit, f"f{number}", seed=number) for number in range(4)]
    for old in olds:
        dismiss(room, old)
    fill_up(room)
    opened(room, kit, "fire", seed=9, ends=False)
    assert False in kept(room, olds[0])
    assert [kept(room, old) for old in olds[2:]] == [[True, True], [True, True]]


def test_a_search_is_bounded_and_the_next_one_goes_on(room, kit, monkeypatch):
    """What may go is found behind much that may not, if not at once; then the oldest are looked at again."""
    monkeypatch.setattr(expendable_module, "LOOKED_AT", 2)
    monkeypatch.setattr(expendable_module, "STRETCHES", 1)
    pending = [opened(room, kit, f"p{number}", seed=number) for number in range(2)]
    old = opened(room, kit, "old", seed=7)
    dismiss(room, old)
    searches = room.book._expendable
    assert [searches.free(1) for _ in range(3)] == [False, False, True]
    assert [kept(room, alert) for alert in pending] == [[True, True]] * 2
    assert False in kept(room, old)
    assert searches.goes_on
    while searches.goes_on:
        searches.free(1 << 40)
    dismiss(room, pending[0])
    assert searches.free(1)
    assert False in kept(room, pending[0])
