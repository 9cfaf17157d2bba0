# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which findings make one incident, what is a revision, and what the camera's sight does to it."""

import json
from dataclasses import replace

import pytest

from events.alerts import Activity, AlertFilter, CaseState, Decision
from events.messages import CaseReply
from gridwatch.core.finding import Box, Stage
from gridwatch.core.zone import Kind


def close_case(room, alert):
    for revision, word in enumerate(("reported", "accepted", "closed"), 1):
        assert room.book.answer(CaseReply.parse(room.reply(alert.id, word, revision))) == "recorded"


def count(room):
    return len(room.reader.list(AlertFilter(), None, 100).items)


def test_a_finding_opens_an_incident_with_place_and_category(room, kit):
    """The first claim is recorded as revision 1, pending, with its category, level, place and review deadline."""
    alert = room.opened()
    assert (alert.revision, alert.activity, alert.decision, alert.case) == (1, "ongoing", "pending", "none")
    assert (alert.category, alert.severity, alert.lane) == ("FIRE-01", 1, "fire")
    assert (alert.camera_name, alert.address_text, alert.zone_name) == ("环川桥头", "环川路1号", "桥面")
    assert list(alert.due) == ["review"]
    assert (alert.due["review"] - alert.opened_at).total_seconds() == 60
    assert room.kinds(alert.id) == ["opened"]


@pytest.mark.parametrize("decision", [None, Decision.CONFIRMED, Decision.DISMISSED])
def test_a_second_finding_joins_what_goes_on_whatever_was_decided(room, decision):
    """A dismissed fire that goes on burning raises no second incident, and neither does a confirmed one."""
    alert = room.opened("f1")
    if decision:
        room.book.decide(
            alert.id, decision, by="op-1", reason="false_alarm" if decision == "dismissed" else None
        )
    room.clock.advance(1)
    assert room.says(Stage.OPENED, "f2") is None
    assert count(room) == 1
    assert room.reader.get(alert.id).decision == (decision or "pending")


def test_kind_subtype_and_camera_keep_incidents_apart(room, kit):
    """Another camera, kind or subtype is another incident."""
    room.opened("a")
    room.opened("b", camera=kit.MARKET)
    room.opened("c", kind=Kind.SMOKE, subtype="smoke")
    room.opened("d", subtype="open_burning")
    assert count(room) == 4


def test_an_end_waits_for_the_last_finding(room):
    """An incident ends when the last finding that holds it has ended, at the look that ended it."""
    alert = room.opened("f1")
    room.says(Stage.OPENED, "f2")
    room.clock.advance(10)
    assert room.says(Stage.ENDED, "f1") is None
    assert room.reader.get(alert.id).activity is Activity.ONGOING
    room.clock.advance(5)
    ended = room.says(Stage.ENDED, "f2")
    assert (ended.activity, ended.revision) == ("ended", 2)
    assert (ended.ended_at - alert.opened_at).total_seconds() == 15


def test_an_end_of_what_was_never_recorded_changes_nothing(room):
    """An end without an incident is no row."""
    assert room.says(Stage.ENDED, "f9") is None
    assert room.reader.last_seq() == 0


@pytest.mark.parametrize(("seconds", "incidents"), [(599, 1), (600, 1), (601, 2)])
def test_it_reopens_within_ten_minutes(room, seconds, incidents):
    """A new finding within ten minutes of the end reopens the incident; a later one makes a new one."""
    alert = room.opened("f1")
    room.says(Stage.ENDED, "f1")
    room.clock.advance(seconds)
    again = room.opened("f2")
    assert count(room) == incidents
    assert (again.id == alert.id) == (incidents == 1)
    if incidents == 1:
        assert (again.activity, again.ended_at, room.kinds(alert.id)[-1]) == ("ongoing", None, "reopened")


def test_after_the_case_closed_it_is_always_new(room):
    """A new finding never joins an incident whose case is closed: not while it goes on, not after its end."""
    alert = room.opened("f1")
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-1")
    close_case(room, alert)
    assert room.reader.get(alert.id).case is CaseState.CLOSED
    room.clock.advance(61)
    assert room.says(Stage.UPDATED, "f1", looks_taken=9).id == alert.id
    second = room.opened("f2")
    assert second.id != alert.id
    room.says(Stage.ENDED, "f1")
    assert room.reader.get(alert.id).activity is Activity.ENDED
    assert room.says(Stage.OPENED, "f3") is None
    assert count(room) == 2


def test_live_facts_are_no_revision(room):
    """Facts are brought up to date at most every five seconds, without a row."""
    alert = room.opened(looks_taken=5)
    room.clock.advance(4)
    assert room.says(Stage.UPDATED, looks_taken=6) is None
    assert room.reader.get(alert.id).facts == {"looks_taken": 5}
    room.clock.advance(1)
    assert room.says(Stage.UPDATED, looks_taken=7) is None
    now = room.reader.get(alert.id)
    assert (now.facts, now.revision, now.last_seen_at) == ({"looks_taken": 7}, 1, room.clock.now())
    assert room.kinds(alert.id) == ["opened"]


def test_changed_facts_revise_after_a_minute(room):
    """Changed facts make a revision at least 60 s after the last one; unchanged facts never do."""
    alert = room.opened(looks_taken=5)
    room.clock.advance(59)
    assert room.says(Stage.UPDATED, looks_taken=6) is None
    room.clock.advance(1)
    assert room.says(Stage.UPDATED, looks_taken=7).revision == 2
    room.clock.advance(61)
    assert room.says(Stage.UPDATED, looks_taken=7) is None
    assert room.kinds(alert.id) == ["opened", "updated"]


def test_a_change_of_level_revises_at_once(room):
    """A crowd that becomes denser changes its level, lane and deadlines in a new revision; it falls with hysteresis."""
    crowd = {"kind": Kind.CROWD, "subtype": "density"}
    alert = room.opened(**crowd, density_per_m2=3.1)
    assert (alert.severity, alert.lane) == (3, "non_police")
    room.clock.advance(1)
    risen = room.says(Stage.UPDATED, **crowd, density_per_m2=4.2)
    assert (risen.revision, risen.severity, risen.lane) == (2, 2, "police")
    assert risen.due["review"] < alert.due["review"]
    room.clock.advance(1)
    assert room.says(Stage.UPDATED, **crowd, density_per_m2=3.6) is None
    assert room.says(Stage.UPDATED, **crowd, density_per_m2=3.4).severity == 3


def test_a_blind_camera_makes_its_incidents_unseen_and_a_finding_brings_them_back(room, kit):
    """Losing the camera changes only its own incidents; the finding that goes on makes them ongoing again."""
    alert, other = room.opened("f1"), room.opened("f2", camera=kit.MARKET)
    assert room.book.camera_lost(kit.BRIDGE, "no packets") == 1
    assert room.book.camera_lost(kit.BRIDGE, "no packets") == 0
    assert (room.reader.get(alert.id).activity, room.reader.get(other.id).activity) == ("unseen", "ongoing")
    room.clock.advance(1)
    assert room.says(Stage.UPDATED, "f1").activity == "ongoing"
    rows = room.reader.timeline(alert.id)
    assert [row.kind for row in rows] == ["opened", "unseen", "seen"]
    assert rows[1].payload["reason"] == "no packets"


def test_after_a_restart_the_same_incident_goes_on(room):
    """Open incidents are unseen after a start; a new finding of the new process joins them."""
    alert = room.opened("f1")
    room.again()
    assert room.reader.get(alert.id).activity is Activity.UNSEEN
    seen = room.says(Stage.OPENED, "another-process-1")
    assert (seen.id, seen.activity) == (alert.id, "ongoing")
    assert count(room) == 1


def test_what_nobody_claims_ends_once_the_camera_has_seen_long_enough(room, kit):
    """Settling ends what stayed unseen of the kind that is asked for, and leaves what a finding holds."""
    fire, smoke = room.opened("f1"), room.opened("f2", kind=Kind.SMOKE, subtype="smoke")
    room.again()
    room.says(Stage.OPENED, "g1", kind=Kind.SMOKE, subtype="smoke")
    room.clock.advance(60)
    room.opened("t1", kind=Kind.TRAFFIC, subtype="stopped_vehicle")
    room.again()
    room.says(Stage.OPENED, "h1", kind=Kind.SMOKE, subtype="smoke")
    assert [room.book.settle(kit.BRIDGE, kind) for kind in (Kind.CROWD, Kind.SMOKE)] == [0, 0]
    assert room.book.settle(kit.BRIDGE, Kind.FIRE) == 1
    unseen = room.reader.list(AlertFilter(activity=Activity.UNSEEN), None, 9).items
    assert [one.kind for one in unseen] == [Kind.TRAFFIC]
    assert (room.reader.get(fire.id).activity, room.reader.get(smoke.id).activity) == ("ended", "ongoing")
    assert room.reader.get(fire.id).ended_at == room.clock.now()


def test_settling_spares_a_finding_that_has_nothing_new_to_say(room, kit):
    """A running finding holds its unseen incident through a blind time in the same process."""
    alert = room.opened("f1")
    room.book.camera_lost(kit.BRIDGE, "stalled")
    assert room.book.settle(kit.BRIDGE, Kind.FIRE) == 0
    assert room.says(Stage.ENDED, "f1").activity == "ended"
    assert room.kinds(alert.id) == ["opened", "unseen", "ended"]


def of_zone(room, zone_id, name, stage=Stage.OPENED, **facts):
    finding = room.finding(stage, f"f-{zone_id}", kind=Kind.CROWD, subtype="count", **facts)
    return room.book.record(replace(finding, zone_id=zone_id, zone_name=name), None)


def test_a_second_zone_is_told_at_once_and_the_report_names_the_zone_it_describes(room):
    """A zone more is a revision and a message; zone, facts and text are of one finding, and every zone is listed."""
    alert = of_zone(room, "north", "北广场", count=80)
    room.clock.advance(1)
    second = of_zone(room, "south", "南广场", count=120)
    assert (second.id, second.revision) == (alert.id, 2)
    message = room.reader.newest_message()
    data = json.loads(message.data)
    assert message.type == "cn.gridwatch.incident.updated.v1"
    assert (data["zone_id"], data["zone_name"], data["zones"]) == ("south", "南广场", ["north", "south"])
    assert (data["facts"], "南广场" in data["description"]) == ({"count": 120}, True)
    room.clock.advance(1)
    assert of_zone(room, "south", "南广场", Stage.UPDATED, count=121) is None
    room.clock.advance(6)
    of_zone(room, "north", "北广场", Stage.UPDATED, count=90)
    now = room.reader.get(alert.id)
    assert (now.zone_id, now.zone_name, now.facts, now.revision) == ("north", "北广场", {"count": 90}, 2)
    assert "北广场" in now.text["zh"]


def test_an_end_in_another_zone_leaves_what_is_described(room):
    """The last finding may end in another zone than the one shown: zone, facts and text stay of one finding."""
    of_zone(room, "north", "北广场", count=80)
    room.clock.advance(1)
    of_zone(room, "south", "南广场", count=120)
    of_zone(room, "south", "南广场", Stage.ENDED, count=3)
    ended = of_zone(room, "north", "北广场", Stage.ENDED, count=5)
    assert (ended.activity, ended.zone_id, ended.facts) == ("ended", "south", {"count": 120})


@pytest.mark.parametrize("ended", [False, True])
def test_an_exercise_swallows_nothing_real(room, kit, ended):
    """A finding never joins or reopens an incident of another run mode; back in the exercise it finds its own."""
    room.policy = kit.replace(room.policy, run_mode="exercise")
    room.again()
    drill = room.opened("d1")
    if ended:
        room.says(Stage.ENDED, "d1")
    room.policy = kit.replace(room.policy, run_mode="actual")
    room.again()
    real = room.opened("f1")
    assert (real.id != drill.id, real.run_mode, real.revision) == (True, "actual", 1)
    room.policy = kit.replace(room.policy, run_mode="exercise")
    room.again()
    assert room.opened("d2").id == drill.id
    assert count(room) == 2


def test_an_update_opens_what_was_never_recorded(room):
    """A claim whose opening was lost while the store was away is recorded by its next update."""
    assert room.says(Stage.UPDATED, "f1").revision == 1


def test_an_unknown_camera_is_recorded_all_the_same(room):
    """A finding of a camera that is not configured any more keeps the id as its name."""
    alert = room.opened(camera="gone")
    assert (alert.camera_name, alert.grid_id) == ("gone", None)


def test_odd_boxes_cost_no_record(room):
    """A box without finite numbers is left out, and the incident stays readable."""
    from dataclasses import replace

    from gridwatch.core.finding import Box

    odd = Box(float("nan"), 0.1, 0.2, 0.2, "fire", 0.9)
    good = Box(0.1, 0.1, 0.2, 0.2, "fire", 0.9)
    finding = replace(room.finding(), boxes=(odd, good), confidence=float("nan"))
    alert = room.book.record(finding, None)
    assert room.reader.get(alert.id) == alert
    assert (alert.boxes, alert.confidence) == ((good,), None)


def test_claims_are_forgotten_with_their_findings(room):
    """The memory of running findings is empty when all have ended."""
    for number in range(8):
        room.says(Stage.OPENED, f"f{number}")
        room.says(Stage.ENDED, f"f{number}")
    assert len(room.book._claims) == 0


def test_boxes_stay_those_of_the_picture(room):
    """Facts live on; the boxes that are drawn on the still are the ones that were seen in it."""
    opened = room.opened()
    room.clock.advance(61)
    moved = replace(
        room.finding(Stage.UPDATED, looks_in_favour=5), boxes=(Box(0.6, 0.6, 0.9, 0.9, "fire", 0.9),)
    )
    assert room.book.record(moved, None).revision == 2
    assert room.reader.get(opened.id).boxes == opened.boxes


def test_a_finding_whose_detector_is_gone_holds_nothing(room, kit):
    """A camera that was changed has a new detector: what the old one left open ends like all that nobody claims."""
    alert = room.opened("f1")
    room.book.camera_lost(kit.BRIDGE, "changed")
    room.book.let_go(["f1", "unknown"])
    assert room.book.settle(kit.BRIDGE, Kind.FIRE) == 1
    assert room.reader.get(alert.id).activity == "ended"


def test_a_finding_is_of_the_run_mode_in_which_it_was_seen(room, kit):
    """It may wait for a store that is away while its camera becomes, or ceases to be, one for exercises."""
    room.book.record(replace(room.finding(Stage.OPENED, "drill"), run_mode="exercise"), None)
    real = replace(room.finding(Stage.OPENED, "real"), run_mode="")
    assert room.book.record(real, None).run_mode == "actual"
    assert count(room) == 2


def test_what_is_not_watched_any_more_is_unseen_until_it_is_watched_again(room):
    """Its zone's schedule is over: nobody saw it end. The same finding says later that it goes on, or that it ended."""
    alert = room.opened("f1")
    hidden = room.says(Stage.UNSEEN, "f1")
    assert (hidden.activity, hidden.ended_at, hidden.revision) == ("unseen", None, 2)
    assert room.reader.timeline(alert.id)[-1].payload["reason"] == "outside_schedule"
    assert room.says(Stage.UNSEEN, "f1") is None
    room.clock.advance(36_000)
    assert room.says(Stage.UPDATED, "f1").activity == "ongoing"
    room.says(Stage.UNSEEN, "f1")
    room.clock.advance(36_000)
    assert room.says(Stage.ENDED, "f1").activity == "ended"
    assert room.kinds(alert.id) == ["opened", "unseen", "seen", "unseen", "ended"]


def test_what_another_zone_still_watches_is_not_unseen(room):
    """Two zones with the same schedule are unseen with the second one."""
    alert = room.opened("f1")
    room.says(Stage.OPENED, "f2")
    assert room.says(Stage.UNSEEN, "f1") is None
    assert room.reader.get(alert.id).activity is Activity.ONGOING
    assert room.says(Stage.UNSEEN, "f2").activity is Activity.UNSEEN


def test_an_unseen_claim_of_what_was_never_recorded_changes_nothing(room):
    """No row without an incident; nothing is held."""
    assert room.says(Stage.UNSEEN, "f9") is None
    assert (room.reader.last_seq(), len(room.book._claims)) == (0, 0)
