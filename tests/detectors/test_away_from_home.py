# SPDX-License-Identifier: AGPL-3.0-or-later
"""A dome that turns away, or a camera that was moved: drawn zones mean nothing there, the whole picture goes on."""

import pytest

from gridwatch.core.finding import Stage
from gridwatch.core.look import Interest
from gridwatch.core.zone import CrowdLimit, Kind, TrafficLimit

LEFT_HALF = ((0.0, 0.0), (0.7, 0.0), (0.7, 1.0), (0.0, 1.0))


@pytest.fixture
def drawn(zone):
    """Return a function that makes a zone with a polygon of its own."""
    return lambda *kinds, **limits: zone(*kinds, zone_id="drawn", polygon=LEFT_HALF, **limits)


def test_no_claim_opens_in_a_drawn_zone_while_the_camera_is_elsewhere(watch, drawn, zone, flame):
    """What burns there burns somewhere else; a zone over the whole picture claims it."""
    seen = watch(drawn(Kind.FIRE), zone(Kind.FIRE, zone_id="whole"))
    seen.at_home = False
    for look in range(9):
        seen.see(flame.looking(look))
    assert {finding.zone_id for finding in seen.said} == {"whole"}
    seen.at_home = True
    for look in range(9, 18):
        seen.see(flame.looking(look))
    assert {finding.zone_id for finding in seen.said} == {"whole", "drawn"}


def test_no_claim_ends_while_the_camera_is_elsewhere(watch, drawn, flame):
    """Minutes away are no looks that saw nothing; back home the hold goes on where it stood."""
    seen = watch(drawn(Kind.FIRE))
    for look in range(5):
        seen.see(flame.looking(look))
    seen.at_home = False
    for _ in range(60):
        seen.see()
    assert seen.stages()[0] == Stage.OPENED
    assert Stage.ENDED not in seen.stages()
    seen.at_home = True
    ends_after = next(i for i in range(1, 20) if any(f.stage is Stage.ENDED for f in seen.see()))
    assert 6 <= ends_after <= 8


def test_a_dwell_stands_still_while_the_camera_is_elsewhere(watch, drawn, crowd_of):
    """A crowd is claimed after the dwell that was seen, not after the time that passed."""
    seen = watch(drawn(Kind.CROWD, crowd=CrowdLimit(10, 20.0)))
    for _ in range(5):
        seen.see(*crowd_of(20))
    seen.at_home = False
    for _ in range(20):
        seen.see()
    seen.at_home = True
    looks = next(i for i in range(1, 30) if seen.see(*crowd_of(20)))
    assert looks == pytest.approx(7, abs=1)
    assert seen.said[0].facts["dwell_s"] == pytest.approx(20, abs=2)


def test_a_stopped_vehicle_is_remembered_while_the_camera_is_elsewhere(watch, drawn, car):
    """Its place is not left by looks at another place."""
    seen = watch(drawn(Kind.TRAFFIC, traffic=TrafficLimit(20.0)))
    seen.see()
    for _ in range(6):
        seen.see(car)
    seen.at_home = False
    for _ in range(30):
        seen.see()
    seen.at_home = True
    looks = next(i for i in range(1, 30) if seen.see(car))
    assert looks <= 8


def test_a_claim_in_a_drawn_zone_wants_nothing_while_the_camera_is_elsewhere(watch, drawn, flame):
    """To follow another place tells nothing of it."""
    seen = watch(drawn(Kind.FIRE))
    for look in range(5):
        seen.see(flame.looking(look))
    assert seen.judge.wants_follow is Interest.CLAIMED
    seen.at_home = False
    seen.see()
    assert seen.judge.wants_follow is Interest.NOTHING
    seen.at_home = True
    seen.see()
    assert seen.judge.wants_follow is Interest.CLAIMED
