# SPDX-License-Identifier: AGPL-3.0-or-later
"""Counting people in a zone against its limit."""

import numpy as np
import pytest

from detectors.crowd import Count, ZoneCounter, cells_inside
from gridwatch.core.detections import Detections, ObjectClass
from gridwatch.core.finding import Stage
from gridwatch.core.geometry import WHOLE_PICTURE
from gridwatch.core.zone import CrowdLimit, Kind

LEFT = ((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0))


@pytest.fixture
def crowd(watch, zone):
    return watch(zone(Kind.CROWD, crowd=CrowdLimit(10, 4.0)))


def test_more_than_the_limit_for_the_dwell_is_a_finding(crowd, crowd_of):
    """It opens when the dwell is over and began with the first look above the limit."""
    crowd.see()
    for _ in range(4):
        crowd.see(*crowd_of(12))
    assert crowd.seconds(Stage.OPENED) == [8.0]
    assert (crowd.said[0].at - crowd.said[0].began_at).total_seconds() == 4.0
    assert crowd.said[0].facts["count"] == 12


def test_at_the_limit_is_allowed(crowd, crowd_of):
    """The limit is how many may be there."""
    for _ in range(30):
        crowd.see(*crowd_of(10))
    assert crowd.said == []


def test_a_single_look_above_the_limit_is_nothing(crowd, crowd_of):
    """One look, even with a long gap after it, is no dwell."""
    for look in range(30):
        crowd.see(*crowd_of(30 if look % 3 == 0 else 9))
    assert crowd.said == []


def test_hysteresis_keeps_a_crowd_that_wavers(crowd, crowd_of):
    """Between 0.8 of the limit and the limit a claim neither opens nor ends."""
    for _ in range(4):
        crowd.see(*crowd_of(12))
    for _ in range(20):
        crowd.see(*crowd_of(9))
    assert crowd.stages().count("opened") == 1
    assert "ended" not in crowd.stages()


def test_one_dip_does_not_cost_the_hysteresis(crowd, crowd_of):
    """A look below 0.8 of the limit in an open claim counts for itself; those above it go on holding the claim."""
    for _ in range(4):
        crowd.see(*crowd_of(12))
    crowd.see(*crowd_of(7))
    for _ in range(30):
        crowd.see(*crowd_of(9))
    assert crowd.stages().count("opened") == 1
    assert "ended" not in crowd.stages()
    assert (crowd.said[-1].at - crowd.said[-1].began_at).total_seconds() == crowd.said[-1].facts["dwell_s"]


def test_after_the_end_the_dwell_begins_anew(crowd, crowd_of):
    """What stood before the end lends nothing to what comes later."""
    for _ in range(4):
        crowd.see(*crowd_of(12))
    for _ in range(20):
        crowd.see(*crowd_of(7))
    crowd.see(*crowd_of(12))
    assert crowd.stages()[-1] == "ended"
    for _ in range(2):
        crowd.see(*crowd_of(12))
    assert crowd.stages().count("opened") == 2
    assert (crowd.said[-1].at - crowd.said[-1].began_at).total_seconds() == 4.0


def test_a_dip_before_the_claim_begins_the_dwell_anew(crowd, crowd_of):
    """Before anything is claimed, a zone that empties between looks is no crowd that stays."""
    for look in range(30):
        crowd.see(*crowd_of(7 if look % 2 else 12))
    assert crowd.said == []


def test_it_ends_after_the_zone_has_emptied_for_a_while(crowd, crowd_of):
    """Below 0.8 of the limit for the hold time ends it once."""
    for _ in range(4):
        crowd.see(*crowd_of(12))
    for _ in range(20):
        crowd.see(*crowd_of(7))
    assert crowd.stages()[-1] == "ended"
    assert crowd.stages().count("ended") == 1
    assert crowd.seconds(Stage.ENDED) == [18.0]


def test_the_larger_count_is_held_against_the_limit(crowd, crowd_of):
    """A dense crowd in which boxes are rare is counted by its density; both counts are facts."""
    density = np.full((36, 64), 40 / (36 * 64), np.float32)
    for _ in range(4):
        crowd.see(*crowd_of(3), density=density)
    facts = crowd.said[0].facts
    assert (facts["count"], facts["people_by_boxes"], facts["people_by_density"]) == (40, 3, 40.0)
    assert (facts["count_low"], facts["count_high"]) == (30, 50)


def test_without_the_counter_boxes_decide(crowd, crowd_of):
    """Where no density was asked for, its fact is empty."""
    for _ in range(4):
        crowd.see(*crowd_of(12))
    assert crowd.said[0].facts["people_by_density"] is None


def test_density_outside_the_polygon_does_not_count():
    """Only cells whose centre lies in the zone are summed."""
    density = np.zeros((10, 20), np.float32)
    density[:, :10], density[:, 10:] = 0.1, 5.0
    answer = Detections.none()
    answer = Detections(answer.xyxy, answer.confidence, answer.class_id, answer.change, density)
    count, _ = ZoneCounter(LEFT).count(answer)
    assert count.by_density == pytest.approx(10.0)


def test_people_outside_the_zone_do_not_count(watch, zone, crowd_of):
    """A person belongs to a zone with the feet or the middle."""
    right = ((0.6, 0.0), (1.0, 0.0), (1.0, 1.0), (0.6, 1.0))
    seen = watch(zone(Kind.CROWD, crowd=CrowdLimit(10, 4.0), polygon=right))
    for _ in range(10):
        seen.see(*crowd_of(25))
    assert seen.said == []


def test_faint_persons_do_not_count(crowd, thing):
    """Boxes below 0.25 are not counted."""
    for _ in range(10):
        crowd.see(
            *[thing(ObjectClass.PERSON, 0.2, (0.02 * i, 0.4, 0.02 * i + 0.015, 0.5)) for i in range(30)]
        )
    assert crowd.said == []


def test_the_mask_follows_the_size_of_the_map():
    """Another input size gives another grid; the share of the zone stays."""
    assert cells_inside(36, 64, LEFT).mean() == pytest.approx(0.5)
    assert cells_inside(45, 80, WHOLE_PICTURE).all()


@pytest.mark.parametrize(
    "count", [Count(0, 0, 0.0), Count(30, 20, 12.5), Count(2, 1, 90.0), Count(8, 8, None)]
)
def test_the_interval_holds_the_count(count):
    """Low, count and high are in order and never negative."""
    low, high = count.interval
    assert 0 <= low <= count.people <= high


def test_slow_camera_needs_two_looks(watch, zone, crowd_of):
    """At 4 s a look the dwell of 4 s is over with the second look."""
    seen = watch(zone(Kind.CROWD, crowd=CrowdLimit(10, 4.0)), step_s=4.0)
    seen.see(*crowd_of(12))
    assert seen.said == []
    seen.see(*crowd_of(12))
    assert seen.stages() == ["opened"]
