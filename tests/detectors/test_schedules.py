# SPDX-License-Identifier: AGPL-3.0-or-later
"""A zone with a schedule: outside it nothing is judged, what is claimed does not end, what was forming begins anew."""

from datetime import timedelta, timezone
from types import SimpleNamespace

import pytest

from detectors.judge import Judge
from gridwatch.core.detections import ObjectClass, Part
from gridwatch.core.finding import Stage
from gridwatch.core.look import Interest
from gridwatch.core.schedule import Schedule
from gridwatch.core.zone import CrowdLimit, Kind, TrafficLimit

CHINA = timezone(timedelta(hours=8))  # the first look of a watch is at 16:00:02 there, on a Sunday
DAY_S = 86_400.0
LEFT_HALF = ((0.0, 0.0), (0.7, 0.0), (0.7, 1.0), (0.0, 1.0))


def at(*lines):
    return Schedule.parse(lines, CHINA)


def jump(seen, seconds):
    """Let the next look be the one so long after 16:00."""
    seen.now_s = 100.0 + seconds - seen.step_s


@pytest.fixture
def claimed(watch, zone, flame):
    """Return a watch whose fire zone is watched for the first minute of 16 o'clock, with a claim; 16:00:58 was looked at."""
    seen = watch(zone(Kind.FIRE, active=at("16:00-16:01")))
    for look in range(29):
        seen.see(flame.looking(look))
    assert seen.stages()[0] == Stage.OPENED
    return seen


def test_no_claim_begins_outside_the_schedule(watch, zone, flame):
    """The zone beside it, which is always watched, claims; from the beginning of the schedule on both do."""
    seen = watch(
        zone(Kind.FIRE, zone_id="always"), zone(Kind.FIRE, zone_id="evening", active=at("sun 17:00-18:00"))
    )
    for look in range(20):
        seen.see(flame.looking(look))
    assert {finding.zone_id for finding in seen.said} == {"always"}
    jump(seen, 3600)
    for look in range(20, 30):
        seen.see(flame.looking(look))
    assert {finding.zone_id for finding in seen.said} == {"always", "evening"}


def test_what_is_claimed_when_the_schedule_ends_is_unseen_and_does_not_end(claimed, flame):
    """It is said once, with the facts as they were; hours of looks without it are no looks that saw nothing."""
    before = claimed.said[-1]
    (said,) = claimed.see(flame.looking(99))
    assert (said.stage, said.finding_id, said.facts) == (Stage.UNSEEN, before.finding_id, before.facts)
    assert said.at.astimezone(CHINA).strftime("%H:%M:%S") == "16:01:00"
    for _ in range(200):
        assert claimed.see() == []


def test_it_ends_when_the_schedule_begins_again_by_looks_that_saw_nothing(claimed):
    """After the same hold as ever, in the zone's own observed time."""
    claimed.see()
    jump(claimed, DAY_S)
    looks = next(i for i in range(1, 20) if claimed.see())
    assert claimed.said[-1].stage is Stage.ENDED
    assert claimed.said[-1].finding_id == claimed.said[0].finding_id
    assert 6 <= looks <= 8


def test_it_goes_on_when_the_schedule_begins_again_and_it_is_still_there(claimed, flame):
    """The claim is the one that it was."""
    claimed.see()
    jump(claimed, DAY_S)
    for look in range(5):
        claimed.see(flame.looking(look))
    assert claimed.said[-1].stage is Stage.UPDATED
    assert {finding.finding_id for finding in claimed.said} == {claimed.said[0].finding_id}


def test_a_claim_outside_its_schedule_wants_nothing(claimed, flame):
    """To follow the camera tells nothing of a zone that is not watched."""
    assert claimed.judge.wants_follow is Interest.CLAIMED
    claimed.see(flame)
    assert (claimed.judge.wants_follow, claimed.judge.suspects) == (Interest.NOTHING, False)


def test_what_was_forming_begins_anew(watch, zone, crowd_of):
    """A crowd of yesterday lends today's no second of its dwell, and not its beginning."""
    seen = watch(zone(Kind.CROWD, crowd=CrowdLimit(10, 20.0), active=at("16:00-16:01")))
    jump(seen, 42)
    for _ in range(9):
        seen.see(*crowd_of(20))
    seen.see()
    jump(seen, DAY_S)
    looks = next(i for i in range(1, 30) if seen.see(*crowd_of(20)))
    assert looks == 11
    assert (seen.said[0].began_at.astimezone(CHINA).day, seen.said[0].facts["dwell_s"]) == (2, 20.0)


def test_a_vehicle_that_stands_there_when_the_schedule_begins_may_be_parked(watch, zone, car):
    """Nobody saw it come: it is claimed after ten minutes, not after the dwell."""
    seen = watch(zone(Kind.TRAFFIC, traffic=TrafficLimit(20.0), active=at("16:10-17:00")), step_s=4.0)
    while seen.now_s < 100 + 1100:
        seen.see(car)
    assert seen.said == []
    while seen.now_s < 100 + 1300:
        seen.see(car)
    assert seen.said[0].facts["stood_at_first_look"] == 1


def test_a_drawn_zone_is_watched_only_at_home_and_within_its_schedule(watch, zone, flame):
    """Both have to be so; neither stands for the other."""
    seen = watch(zone(Kind.FIRE, polygon=LEFT_HALF, active=at("16:00-16:01")))
    seen.at_home = False
    for look in range(10):
        seen.see(flame.looking(look))
    seen.at_home = True
    jump(seen, 120)
    for look in range(10):
        seen.see(flame.looking(look))
    assert seen.said == []
    jump(seen, DAY_S)
    for look in range(10):
        seen.see(flame.looking(look))
    assert seen.stages()[0] == Stage.OPENED


def test_smoke_is_held_against_a_fire_in_a_zone_that_was_watched_for_longer(watch, zone, thing, flame):
    """Each zone counts its own time: a fire of ten seconds ago is that in the smoke's time as well."""
    smoke = thing(ObjectClass.SMOKE, 0.6, (0.6, 0.1, 0.9, 0.3))
    seen = watch(zone(Kind.FIRE, zone_id="f"), zone(Kind.SMOKE, zone_id="s", active=at("16:10-17:00")))
    while seen.now_s < 100 + 588:
        seen.see()
    for look in range(6):
        seen.see(flame.looking(look))
    for look in range(6, 12):
        seen.see(flame.looking(look), smoke.looking(look))
    first = next(finding for finding in seen.said if finding.kind is Kind.SMOKE)
    assert first.facts["beside_fire"] == 1


def test_a_fire_that_is_not_watched_any_more_makes_no_smoke_likely(watch, zone, thing, flame):
    """Nobody knows whether it burns: smoke needs the evidence that it needs alone."""
    smoke = thing(ObjectClass.SMOKE, 0.6, (0.6, 0.1, 0.9, 0.3))
    seen = watch(zone(Kind.FIRE, zone_id="f", active=at("16:00-16:01")), zone(Kind.SMOKE, zone_id="s"))
    for look in range(29):
        seen.see(flame.looking(look))
    for look in range(29, 45):
        seen.see(smoke.looking(look))
    first = next(finding for finding in seen.said if finding.kind is Kind.SMOKE)
    assert "beside_fire" not in first.facts


def test_looks_ask_only_for_zones_that_are_watched_at_their_time(watch, zone, camera):
    """And all that is asked in a week is known beforehand, so that the network can be made ready for it."""
    zones = zone(Kind.FIRE), zone(Kind.CROWD, active=at("17:00-18:00"))
    seen, asked = watch(*zones), []
    judge = seen.judge
    seen.judge = SimpleNamespace(update=lambda look, _: asked.append(look) or [])
    seen.see()
    jump(seen, 3600)
    seen.see()
    everything = frozenset(Part)
    assert [judge.parts_for(look) for look in asked] == [{Part.FIRE}, everything]
    assert (judge.parts, judge.questions) == (everything, {frozenset({Part.FIRE}), everything})
    only = Judge(camera(zones[1]))
    assert only.parts_for(asked[0]) == frozenset()
    assert Judge(camera(zones[0])).questions == {frozenset({Part.FIRE})}


def test_a_zones_observed_time_stands_still_outside_its_schedule(watch, zone):
    """What says that nothing is there any more is time under observation, of each zone that could tell."""
    seen = watch(zone(Kind.CROWD), zone(Kind.CROWD, active=at("16:00-16:01")), zone(Kind.FIRE))
    for _ in range(100):
        seen.see()
    always, minute = seen.judge.observed_s(Kind.CROWD)
    assert (always, minute) == (198.0, 56.0)
    assert seen.judge.observed_s(Kind.FIRE) == seen.judge.observed_s(Kind.TRAFFIC) == (198.0,)
