# SPDX-License-Identifier: AGPL-3.0-or-later
"""A followed camera: two looks a second give the same claims as its key frames, or earlier, and no others."""

import random

import numpy as np
import pytest

from detectors.change import ChangeMeter
from gridwatch.core.detections import ObjectClass
from gridwatch.core.finding import Stage
from gridwatch.core.look import Interest, LookReason
from gridwatch.core.zone import CrowdLimit, Kind, TrafficLimit

FOLLOW = LookReason.FOLLOW
ONSET_S = 21.0


def drive(seen, key_s, things_at, *, until_s=60.0, followed_from_s=None, claims=1):
    """Look at what `things_at` tells of each moment: at key frames, and twice a second from `followed_from_s` on.

    Returns when, in seconds, the first claim was opened; None if none was until then.
    """
    at_s = 0.0
    while at_s < until_s and len(seen.said) < claims:
        followed = followed_from_s is not None and at_s >= followed_from_s
        seen.why, seen.step_s = (FOLLOW if followed else LookReason.PATROL), 0.0
        seen.now_s = 100.0 + at_s
        seen.see(*things_at(at_s))
        at_s += 0.5 if followed else key_s
    opened = seen.seconds(Stage.OPENED)
    return opened[0] if opened else None


def flickering(thing, seed, share):
    """What the network finds in `share` of the pictures, half a second each; its inside is ever another."""
    rng = random.Random(seed)
    found = [rng.random() < share for _ in range(400)]

    def things_at(at_s):
        slot = int(at_s * 2)
        return [thing.looking(slot)] if at_s >= ONSET_S and found[slot] else []

    return things_at


@pytest.mark.parametrize("key_s", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("kind", ["flame", "smoke"])
def test_what_burns_steadily_is_claimed_earlier(watch, request, kind, key_s):
    """Followed from the group of pictures of its onset on, as soon as its evidence spans time enough."""
    things_at = flickering(request.getfixturevalue(kind), 1, 1.0)
    by_keys = drive(watch(), key_s, things_at)
    followed = drive(watch(), key_s, things_at, followed_from_s=ONSET_S - 1)
    assert ONSET_S + 2 <= followed <= ONSET_S + 2.5
    assert followed <= by_keys


@pytest.mark.parametrize("share", [0.8, 0.6])
def test_what_is_seen_now_and_then_is_claimed_earlier_as_a_rule(watch, flame, zone, share):
    """Over many fires, and never much later."""
    later, found, fire = [], [0, 0], zone(Kind.FIRE)
    for seed in range(12):
        things_at = flickering(flame, seed, share)
        by_keys = drive(watch(fire), 2.0, things_at, until_s=45.0)
        followed = drive(watch(fire), 2.0, things_at, until_s=45.0, followed_from_s=ONSET_S - 1)
        found = [found[0] + (by_keys is not None), found[1] + (followed is not None)]
        if by_keys is not None and followed is not None:
            later.append(followed - by_keys)
    assert found[1] >= found[0] >= 9
    assert np.median(later) <= -1.0
    assert sum(each > 0 for each in later) <= 2


def test_a_moment_is_no_evidence(watch, flame):
    """Headlights that pass in a second and a half are five looks of a followed camera, and claim nothing."""
    seen = watch()
    things_at = lambda at_s: [flame.looking(int(at_s * 2))] if 10 <= at_s < 11.9 else []  # noqa: E731
    assert drive(seen, 2.0, things_at, followed_from_s=8.0) is None


def test_looks_of_a_second_are_one(watch, flame):
    """Three of the last five seconds are needed, not three of the last five looks."""
    seen = watch()
    lit = {10.0, 10.5, 12.0, 12.5}  # two seconds of five, though four looks
    things_at = lambda at_s: [flame.looking(int(at_s * 2))] if at_s in lit else []  # noqa: E731
    assert drive(seen, 2.0, things_at, followed_from_s=8.0) is None


def test_smoke_beside_a_fire_needs_two_seconds_of_it(watch, flame, smoke):
    """Two looks half a second apart are one."""

    def opened(lit):
        seen = watch()

        def things_at(at_s):
            burning = [flame.looking(int(at_s * 2))]
            return [*burning, smoke.looking(int(at_s * 2))] if at_s in lit else burning

        drive(seen, 2.0, things_at, until_s=16.0, followed_from_s=2.0, claims=99)
        return [each.kind for each in seen.said if each.stage is Stage.OPENED]

    assert opened({10.0, 10.5}) == [Kind.FIRE]
    assert opened({10.0, 11.0}) == [Kind.FIRE, Kind.SMOKE]


def test_facts_count_looks(watch, flame):
    """A person who checks counts looks, not seconds."""
    seen = watch()
    drive(seen, 2.0, flickering(flame, 1, 1.0), until_s=26.0, followed_from_s=20.0)
    facts = seen.said[0].facts
    assert (facts["looks_in_favour"], facts["looks_taken"]) == (5, 5)


def test_one_look_that_falls_short_does_not_empty_a_zone(watch, crowd_of, zone):
    """Four times as many looks must not mean four times as many chances to begin the dwell anew."""
    dips = {12.5, 17.0, 24.5}
    things_at = lambda at_s: crowd_of(3 if at_s in dips else 12) if at_s >= 10 else []  # noqa: E731
    crowded = lambda: watch(zone(Kind.CROWD, crowd=CrowdLimit(10, 20.0)))  # noqa: E731
    assert drive(crowded(), 2.0, things_at) == 30.0  # no key frame happens to be one of them
    assert drive(crowded(), 2.0, things_at, followed_from_s=8.0) == 30.0
    emptied = lambda at_s: crowd_of(3 if 20 <= at_s < 21.5 else 12) if at_s >= 10 else []  # noqa: E731
    assert drive(crowded(), 2.0, emptied, followed_from_s=8.0) == 41.5


def test_a_burst_of_looks_does_not_outvote_the_key_frames(watch, crowd_of, zone):
    """Four seconds decoded from memory are four seconds, however many looks they gave."""
    seen = watch(zone(Kind.CROWD, crowd=CrowdLimit(10, 6.0)))
    seen.step_s, seen.why = 0.5, FOLLOW
    for people in (12, 9, 9, 9, 9, 9, 9, 9):
        seen.see(*crowd_of(people))
    seen.step_s, seen.why = 2.0, LookReason.SUSPECT
    looks = next(i for i in range(1, 9) if seen.see(*crowd_of(12)))
    assert looks == 2


def stopped(zone, dwell_s):
    return zone(Kind.TRAFFIC, traffic=TrafficLimit(dwell_s))


@pytest.mark.parametrize("arrives_s", [10.1, 11.0, 11.9])
def test_a_vehicle_that_stops_is_claimed_no_later(watch, car, zone, arrives_s):
    """It has stood since it was first seen there, not since the picture from before it came was two seconds old."""
    things_at = lambda at_s: [car] if at_s >= arrives_s else []  # noqa: E731
    by_keys = drive(watch(stopped(zone, 20.0)), 2.0, things_at)
    seen = watch(stopped(zone, 20.0))
    followed = drive(seen, 2.0, things_at, followed_from_s=8.0)
    assert followed <= by_keys
    assert 0 <= seen.said[0].began_at.timestamp() - (seen.said[0].at.timestamp() - 20) <= 0.5
    assert followed - 20 - arrives_s <= 0.9


@pytest.mark.parametrize("away_s", [3.0, 3.9])
def test_what_drives_past_does_not_end_a_stand(watch, car, zone, thing, away_s):
    """A bus hides a stopped car for some seconds: two looks at key-frame cadence, eight of a followed camera."""
    bus = thing(ObjectClass.BUS, 0.9, (0.2, 0.3, 0.8, 0.9))

    def things_at(at_s):
        if at_s < 10:
            return []
        return [bus.looking(int(at_s * 2))] if 20 <= at_s < 20 + away_s else [car]

    by_keys = drive(watch(stopped(zone, 25.0)), 2.0, things_at)
    assert drive(watch(stopped(zone, 25.0)), 2.0, things_at, followed_from_s=8.0) <= by_keys <= 36.0


def test_a_vehicle_that_left_is_gone(watch, car, zone):
    """Eight seconds without it end the stand, at either cadence."""
    things_at = lambda at_s: [car] if 10 <= at_s < 20 or at_s >= 29 else []  # noqa: E731
    assert drive(watch(stopped(zone, 25.0)), 2.0, things_at, until_s=50.0) is None
    assert drive(watch(stopped(zone, 25.0)), 2.0, things_at, until_s=50.0, followed_from_s=8.0) is None


def test_a_vehicle_that_creeps_does_not_stand(watch, thing, zone):
    """Half a second is too short to see it move; two are not."""
    car = thing(ObjectClass.CAR, 0.7, (0.4, 0.5, 0.6, 0.7))

    def things_at(at_s):
        x = 0.1 + 0.01 * max(0.0, at_s - 10)
        return [thing(car.cls, 0.7, (x, 0.5, x + 0.2, 0.7))] if at_s >= 10 else []

    assert drive(watch(stopped(zone, 8.0)), 2.0, things_at, until_s=40.0) is None
    assert drive(watch(stopped(zone, 8.0)), 2.0, things_at, until_s=40.0, followed_from_s=8.0) is None


def test_fire_and_smoke_want_to_be_followed_while_they_may_become_a_claim(watch, flame, car, crowd_of):
    """From the first look that speaks for one, while it is open, and for 8 s after the last look that did."""
    seen = watch(step_s=2.0)
    wants = lambda: seen.judge.wants_follow  # noqa: E731
    assert wants() is Interest.NOTHING
    seen.see(car, *crowd_of(30))
    assert wants() is Interest.NOTHING
    seen.see(flame.looking(1))
    assert wants() is Interest.FORMING
    for _ in range(4):
        seen.see()
    assert wants() is Interest.FORMING
    seen.see()
    assert wants() is Interest.NOTHING
    for look in range(3):
        seen.see(flame.looking(2 + look))
    assert wants() is Interest.CLAIMED
    while seen.stages()[-1] != Stage.ENDED:
        seen.no_answer()
        assert wants() is Interest.CLAIMED
        seen.see()
    assert wants() is Interest.NOTHING


def test_crowds_and_stopped_vehicles_want_nothing(watch, car, crowd_of):
    """They take their tens of seconds at key-frame cadence."""
    seen = watch()
    for _ in range(30):
        seen.see(car, *crowd_of(30))
        assert seen.judge.wants_follow is Interest.NOTHING
    assert {each.kind for each in seen.said} == {Kind.CROWD}


def test_a_lamp_wants_nothing(watch, flame):
    """What does not change speaks for nothing."""
    seen = watch()
    for _ in range(9):
        seen.see(flame)
    assert seen.judge.wants_follow is Interest.NOTHING


class Frame:
    width, height = 320, 180

    def __init__(self, level):
        self._luma = np.full((180, 320), 90, np.uint8)
        self._luma[72:108, 128:160] = level

    def luma(self):
        return self._luma


@pytest.fixture
def measured(make_look, flame_answer):
    """Return a function that feeds (second, level inside the box, why) and returns the change and the age compared with."""

    def run(steps):
        meter, found = ChangeMeter(), []
        for at_s, level, why in steps:
            change = meter.measure(make_look(at_s, Frame(level), why), flame_answer).change[0]
            compared = meter.compared_mono_s
            found.append((round(float(change), 1), None if compared is None else round(at_s - compared, 1)))
        return found

    return run


@pytest.fixture
def make_look():
    from datetime import UTC, datetime

    from gridwatch.core.look import Look

    return lambda at_s, frame, why: Look("cam", why, at_s, datetime(2026, 3, 1, tzinfo=UTC), 0.0, frame)


@pytest.fixture
def flame_answer(flame):
    from gridwatch.core.detections import Detections

    return Detections(
        np.array([flame.xyxy], np.float32),
        np.array([0.6], np.float32),
        np.array([ObjectClass.FIRE], np.int64),
        np.array([np.nan], np.float32),
    )


def test_looks_of_a_followed_camera_are_compared_with_one_two_seconds_older(measured):
    """Smoke that drifts by 1 in half a second drifts by 4 in two, as between key frames."""
    found = measured([(i / 2, 100 + i, FOLLOW) for i in range(12)])
    assert np.isnan(found[0][0])
    assert [age for _, age in found[1:]] == [0.5, 1.0, 1.5, *[2.0] * 8]
    assert [change for change, _ in found[4:]] == pytest.approx([4.0] * 8, abs=0.15)


def test_key_frames_are_compared_with_the_look_before(measured):
    """At any cadence, as ever."""
    for step_s in (0.4, 1.0, 2.0, 4.0):
        found = measured([(i * step_s, 100 + 3 * i, LookReason.SUSPECT) for i in range(6)])
        assert [change for change, _ in found[1:]] == pytest.approx([3.0] * 5, abs=0.15)
        assert [age for _, age in found[1:]] == [round(step_s, 1)] * 5


def test_following_begins_and_ends_without_a_gap(measured):
    """From key frames to two looks a second and back, each look has one to be compared with, of about the same age."""
    steps = [(0.0, 100, LookReason.PATROL), (4.0, 100, LookReason.PATROL)]
    steps += [(6.0 + i / 2, 100 + i, FOLLOW) for i in range(8)]
    steps += [(10.0, 110, LookReason.SUSPECT), (12.0, 110, LookReason.PATROL)]
    ages = [age for _, age in measured(steps)]
    assert ages == [None, 4.0, 2.0, 2.5, 3.0, 3.5, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]


def test_a_look_long_before_is_not_preferred_to_a_near_one(measured):
    """After a pause of the looks the newest that is not too old is compared with."""
    ages = [age for _, age in measured([(0.0, 100, FOLLOW), (15.0, 100, FOLLOW), (15.5, 100, FOLLOW)])]
    assert ages == [None, 15.0, 0.5]


def test_following_does_not_change_what_is_a_usual_interval(measured):
    """A camera with a key frame in 30 s is compared over them as before, after it was followed."""
    steps = [(30.0 * i, 100, LookReason.PATROL) for i in range(5)]
    steps += [(120.5 + i / 2, 100, FOLLOW) for i in range(10)]
    steps += [(155.0, 100, LookReason.PATROL), (185.0, 100, LookReason.PATROL)]
    found = measured(steps)
    assert [age for _, age in found[-2:]] == [pytest.approx(30.0, abs=2.1)] * 2
