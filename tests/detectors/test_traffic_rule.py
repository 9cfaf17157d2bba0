# SPDX-License-Identifier: AGPL-3.0-or-later
"""Vehicles that stand where they should not, by recurrence of boxes."""

import pytest

from gridwatch.core.detections import ObjectClass
from gridwatch.core.finding import Stage
from gridwatch.core.zone import Kind, TrafficLimit


@pytest.fixture
def road(watch, zone):
    return lambda dwell_s=8.0, step_s=2.0: watch(
        zone(Kind.TRAFFIC, traffic=TrafficLimit(dwell_s)), step_s=step_s
    )


def shifted(thing, x, y=0.0, look=0):
    x0, y0, x1, y1 = thing.xyxy
    return type(thing)(thing.cls, thing.confidence, (x0 + x, y0 + y, x1 + x, y1 + y), look)


@pytest.mark.parametrize("step_s", [1.0, 2.0, 4.0])
def test_a_vehicle_that_comes_and_stays_is_found_after_the_dwell(road, car, step_s):
    """Its stand is counted from the look in which it came to rest."""
    seen = road(step_s=step_s)
    seen.see()
    for _ in range(20):
        seen.see(car)
    assert seen.seconds(Stage.OPENED) == [2 * step_s + 8.0]
    assert (seen.said[0].at - seen.said[0].began_at).total_seconds() == 8.0


def test_it_ends_when_the_vehicle_has_left(road, car):
    """Answered looks without it end the claim once."""
    seen = road()
    seen.see()
    for _ in range(8):
        seen.see(car)
    for _ in range(12):
        seen.see()
    assert seen.stages()[-1] == "ended"
    assert seen.stages().count("ended") == 1


def test_other_vehicles_over_the_same_place_are_not_one(road, car):
    """A box at the same place with another inside is another vehicle."""
    seen = road()
    for look in range(60):
        seen.see(car.looking(look))
    assert seen.said == []


def test_a_vehicle_that_drives_through_is_not_one(road, car):
    """Boxes that move on do not recur."""
    seen = road()
    for look in range(60):
        seen.see(shifted(car, 0.08 * (look % 6) - 0.2))
    assert seen.said == []


def test_a_queue_is_not_one(road, car):
    """Three that stand beside each other wait for something."""
    seen = road()
    seen.see()
    row = [shifted(car, x, look=i) for i, x in enumerate((-0.25, 0.0, 0.25))]
    for _ in range(60):
        seen.see(*row)
    assert seen.said == []


def test_the_tail_of_a_queue_that_moves_off_is_not_one(road, car):
    """The last of a queue is alone only for some seconds."""
    seen = road()
    seen.see()
    row = [shifted(car, x, look=i) for i, x in enumerate((-0.25, 0.0, 0.25))]
    for _ in range(30):
        seen.see(*row)
    for left in (row[1:], *[row[2:]] * 3):
        seen.see(*left)
    for _ in range(10):
        seen.see()
    assert seen.said == []


def test_what_stays_after_the_queue_has_gone_is_one(road, car):
    """A vehicle left behind when the others moved on does not wait for a light."""
    seen = road()
    seen.see()
    row = [shifted(car, x, look=i) for i, x in enumerate((-0.25, 0.0, 0.25))]
    for _ in range(10):
        seen.see(*row)
    for _ in range(15):
        seen.see(row[0])
    assert seen.stages()[0] == "opened"
    assert seen.said[0].facts["vehicles"] == 1


def test_what_creeps_along_does_not_stand(road, car, picture_of):
    """A vehicle that rolls slowly changes little from look to look, and still leaves its first outline."""
    seen = road(dwell_s=20.0, step_s=1.0)
    seen.see()
    from_left = [shifted(car, -0.3 + 0.012 * look) for look in range(40)]
    seen.see(from_left[0])
    for each in from_left:
        seen.see_picture(picture_of(), each)
    assert seen.said == []


def test_passers_who_pause_make_no_queue(road, car):
    """Others that stop for a moment beside a wreck do not hide it."""
    seen = road(step_s=1.0)
    seen.see()
    for look in range(12):
        pausing = [shifted(car, x + 0.08 * (look // 3 % 2), look=look // 3) for x in (-0.3, 0.25)]
        seen.see(car, *pausing)
    assert seen.stages()[0] == "opened"


def test_a_pair_is_one(road, car):
    """Two wrecks are one claim with two boxes."""
    seen = road()
    seen.see()
    for _ in range(10):
        seen.see(car, shifted(car, 0.25, look=1))
    assert seen.stages().count("opened") == 1
    assert seen.said[-1].facts["vehicles"] == 2


def test_a_queue_behind_a_claimed_vehicle_does_not_end_it(road, car):
    """A wreck stays one when others have to wait behind it."""
    seen = road()
    seen.see()
    for _ in range(8):
        seen.see(car)
    for _ in range(20):
        seen.see(car, shifted(car, -0.25, look=1), shifted(car, 0.25, look=2))
    assert "ended" not in seen.stages()


def test_parked_since_the_first_look_is_claimed_only_after_ten_minutes(road, car):
    """A start must not raise every parked car; what stands for ten minutes is no red light."""
    seen = road(step_s=4.0)
    for _ in range(160):
        seen.see(car)
    assert seen.seconds(Stage.OPENED) == [604.0]
    assert seen.said[0].facts["stood_at_first_look"] == 1


def test_parked_but_noticed_late_is_parked(road, car, picture_of):
    """A box that appears over an unchanged inside was not seen to come."""
    seen = road()
    for _ in range(5):
        seen.see_picture(picture_of(car))
    for _ in range(60):
        seen.see_picture(picture_of(car), car)
    assert seen.said == []


def test_parked_covered_and_uncovered_is_still_parked(road, car, picture_of):
    """A lorry stands in front for half a minute and drives off: the car behind it did not come."""
    seen = road()
    for _ in range(4):
        seen.see(car)
    for look in range(16):
        seen.see_picture(picture_of(car.looking(1000 + look)))
    for _ in range(60):
        seen.see(car)
    assert seen.said == []


def test_after_a_black_picture_nothing_was_seen_to_come(road, car, picture_of):
    """A car that is there when the picture comes back is parked."""
    import numpy as np

    texture = np.random.default_rng(5).integers(0, 255, (180, 320), np.uint8)
    seen = road()
    seen.see_picture(type(picture_of(car))(np.zeros_like(texture)))
    for _ in range(60):
        seen.see_picture(type(picture_of(car))(texture), car)
    assert seen.said == []


def test_a_passing_lorry_does_not_reset_the_stand(road, car):
    """Looks in which something drives past in front interrupt a stand without ending it."""
    seen = road(dwell_s=40.0)
    seen.see()
    for look in range(30):
        seen.see(car.looking(1000 + look) if look % 6 == 3 else car)
    assert seen.seconds(Stage.OPENED) == [44.0]


def test_looks_that_cannot_be_measured_do_not_end_a_stand(road, car):
    """A camera that shakes, with the vehicle in every look, does not show that it left."""
    seen = road()
    seen.see()
    for _ in range(8):
        seen.see(car)
    for _ in range(30):
        seen.see_shaken(car)
    for _ in range(4):
        seen.see(car)
    assert seen.stages().count("opened") == 1
    assert "ended" not in seen.stages()


def test_overlooked_for_two_looks_is_still_standing(road, car, picture_of):
    """The network may miss a vehicle that stands there all the time."""
    seen = road(dwell_s=30.0)
    seen.see()
    for look in range(30):
        seen.see_picture(picture_of(car), *([] if look % 5 in {3, 4} else [car]))
    assert seen.stages()[0] == "opened"


def test_what_was_overlooked_on_arrival_counts_from_when_it_was_seen(road, car, picture_of):
    """A stand never begins with another vehicle that passed the place before."""
    seen = road()
    seen.see()
    seen.see(car.looking(1))
    for _ in range(3):
        seen.see_picture(picture_of(car))
    for _ in range(8):
        seen.see_picture(picture_of(car), car)
    assert seen.seconds(Stage.OPENED) == [20.0]


def test_hidden_for_long_starts_anew(road, car):
    """Ten seconds without the vehicle is a departure."""
    seen = road(dwell_s=30.0)
    seen.see()
    for _ in range(3):
        for _ in range(10):
            seen.see(car)
        for _ in range(6):
            seen.see()
    assert seen.said == []


def test_another_vehicle_with_another_outline_starts_its_own_stand(road, car, thing):
    """A change of vehicle at a stop line does not add up, even without an empty look between."""
    seen = road(dwell_s=40.0)
    seen.see()
    van = thing(ObjectClass.TRUCK, 0.7, (0.42, 0.44, 0.66, 0.7), 3)
    for _ in range(3):
        for each in (car, van):
            for _ in range(12):
                seen.see(each)
    assert seen.said == []


def test_two_names_for_one_box_are_one_vehicle(road, car, thing):
    """The network calls a box car and truck at once; that is no pair."""
    seen = road()
    seen.see()
    for _ in range(10):
        seen.see(car, thing(ObjectClass.TRUCK, 0.5, car.xyxy))
    assert seen.said[0].facts["vehicles"] == 1


def test_bicycles_and_persons_are_no_vehicles(road, thing):
    """Only cars, motorcycles, buses and trucks can stop where they should not."""
    seen = road()
    seen.see()
    for _ in range(30):
        seen.see(
            thing(ObjectClass.PERSON, 0.8, (0.4, 0.4, 0.5, 0.7)),
            thing(ObjectClass.BICYCLE, 0.8, (0.1, 0.4, 0.2, 0.6)),
        )
    assert seen.said == []


def test_parked_rows_do_not_hide_a_stopped_car(road, car):
    """What has stood for ten minutes is part of the scene and makes no queue."""
    seen = road(step_s=4.0)
    parked = [shifted(car, x, -0.3, look=i) for i, x in enumerate((-0.25, 0.0, 0.25))]
    for _ in range(155):
        seen.see(*parked)
    seen.said.clear()
    for _ in range(6):
        seen.see(*parked, car)
    assert max(finding.facts["vehicles"] for finding in seen.said) == 4
