# SPDX-License-Identifier: AGPL-3.0-or-later
"""Lists, pages, counts and the journal as others read them."""

import pytest

from events import reading
from events.alerts import Activity, AlertFilter, Decision
from events.errors import UnknownIncident
from gridwatch.core.errors import InputError
from gridwatch.core.finding import Stage
from gridwatch.core.zone import Kind


@pytest.fixture
def filled(room, kit):
    for number in range(4):
        room.opened(
            f"f{number}",
            kind=Kind.FIRE if number % 2 else Kind.SMOKE,
            subtype="flame" if number % 2 else "smoke",
        )
        room.says(
            Stage.ENDED,
            f"f{number}",
            kind=Kind.FIRE if number % 2 else Kind.SMOKE,
            subtype="flame" if number % 2 else "smoke",
        )
        room.clock.advance(601)
    room.opened("g1", camera=kit.MARKET)
    room.opened("g2", camera=kit.MARKET, kind=Kind.SMOKE, subtype="smoke")
    return room


def pages(room, wanted, limit):
    cursor, found = None, []
    while True:
        page = room.reader.list(wanted, cursor, limit)
        assert len(page.items) <= limit
        found += page.items
        if page.next is None:
            return found
        cursor = page.next


@pytest.mark.parametrize("limit", [1, 2, 4, 6, 100])
def test_pages_hold_each_alert_once_newest_first(filled, limit):
    """Whatever the page size, every alert comes once; two of the same moment too."""
    found = pages(filled, AlertFilter(), limit)
    assert len({alert.id for alert in found}) == 6 == len(found)
    assert [alert.opened_at for alert in found] == sorted((alert.opened_at for alert in found), reverse=True)


def test_a_new_alert_does_not_shift_a_page(filled):
    """A cursor stays where it was when something newer is recorded."""
    first = filled.reader.list(AlertFilter(), None, 3)
    filled.opened("h1", kind=Kind.CROWD, subtype="count", count=80)
    second = filled.reader.list(AlertFilter(), first.next, 3)
    assert not {alert.id for alert in first.items} & {alert.id for alert in second.items}
    assert len(second.items) == 3


def test_filters_select(filled, kit):
    """Each filter alone and together."""
    confirmed = filled.reader.list(AlertFilter(), None, 1).items[0]
    filled.book.decide(confirmed.id, Decision.CONFIRMED, by="op-1")
    counts = {
        AlertFilter(kind=Kind.FIRE): 3,
        AlertFilter(decision=Decision.CONFIRMED): 1,
        AlertFilter(activity=Activity.ENDED): 4,
        AlertFilter(camera_id=kit.MARKET): 2,
        AlertFilter(open_only=True): 2,
        AlertFilter(open_only=True, kind=Kind.FIRE): 1,
        AlertFilter(camera_id="nowhere"): 0,
    }
    assert {wanted: len(pages(filled, wanted, 2)) for wanted in counts} == counts


@pytest.mark.parametrize("cursor", ["", "x", "AAAA", "bm8", "ä", "fA=="])
def test_a_foreign_cursor_is_refused(room, cursor):
    """A cursor that is none of ours is an InputError."""
    with pytest.raises(InputError):
        room.reader.list(AlertFilter(), cursor, 10)


def test_an_unknown_incident_is_named(room):
    """Neither an alert nor a timeline exists for it."""
    for read in (room.reader.get, room.reader.timeline):
        with pytest.raises(UnknownIncident):
            read("0199")


def test_the_journal_is_read_on_from_a_number(filled):
    """Rows after a number come in order and bounded; the last number is the newest row's."""
    rows = filled.reader.rows_after(0, 1000)
    assert [row.seq for row in rows] == list(range(1, filled.reader.last_seq() + 1))
    assert filled.reader.rows_after(3, 2) == rows[3:5]
    assert filled.reader.rows_after(filled.reader.last_seq(), 5) == []


def test_a_long_timeline_shows_its_newest_rows(room, monkeypatch):
    """Beyond what one read returns the oldest rows are left out, not the newest; all can be read on by number."""
    monkeypatch.setattr(reading, "ROWS_MAX", 4)
    alert = room.opened()
    room.opened("other", kind=Kind.SMOKE, subtype="smoke")
    for _ in range(3):
        room.book.camera_lost(alert.camera_id, "dark")
        room.says(Stage.UPDATED)
    kinds = ["opened", *["unseen", "seen"] * 3]
    assert room.kinds(alert.id) == kinds[-4:]
    assert [row.kind for row in room.reader.newest_rows(alert.id, 2)] == kinds[-2:]
    first = room.reader.rows_of(alert.id, 0, 3)
    rest = room.reader.rows_of(alert.id, first[-1].seq, 99)
    assert [row.kind for row in (*first, *rest)] == kinds
    assert room.reader.newest_rows("0199", 5) == []


def test_counts_tell_what_there_is(filled):
    """All incidents by kind, activity, decision and case."""
    counts = filled.reader.counts()
    assert counts.by_kind == {"fire": 3, "smoke": 3}
    assert counts.by_activity == {"ended": 4, "ongoing": 2}
    assert counts.by_decision == {"pending": 6}
    assert counts.by_case == {"none": 6}


def test_confirmed_incidents_are_counted_by_camera_since_a_time(room, kit):
    """What was dismissed, is undecided or opened earlier does not count; a camera without any is not named."""
    room.book.decide(room.opened("old").id, Decision.CONFIRMED, by="op-1")
    room.says(Stage.ENDED, "old")
    room.clock.advance(3_600)
    since = room.clock.now()
    for of, camera, decision in (
        ("a", kit.BRIDGE, Decision.CONFIRMED),
        ("b", kit.MARKET, Decision.DISMISSED),
        ("c", kit.MARKET, None),
    ):
        room.clock.advance(600)
        alert = room.opened(of, camera=camera, kind=Kind.SMOKE if of == "c" else Kind.FIRE)
        if decision is not None:
            room.book.decide(alert.id, decision, by="op-1", reason="harmless")
    assert room.reader.confirmed_by_camera(since) == {kit.BRIDGE: 1}
    assert room.reader.confirmed_by_camera(kit.START)[kit.BRIDGE] >= 1
    assert room.reader.confirmed_by_camera(room.clock.now()) == {}
