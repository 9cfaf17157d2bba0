# SPDX-License-Identifier: AGPL-3.0-or-later
"""The judge of one camera: silence, determinism, bounds."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.claims import Moment
from detectors.errors import DetectorsError, ForeignLook
from detectors.fire import FIRE
from detectors.judge import Judge
from detectors.recurrence import Recurrence
from detectors.standing import StandingPlaces, vehicles_of
from gridwatch.core.detections import Detections, ObjectClass, Part
from gridwatch.core.errors import GridwatchError
from gridwatch.core.finding import Stage
from gridwatch.core.zone import CrowdLimit, Kind, TrafficLimit

START = datetime(2026, 3, 1, tzinfo=UTC)


def test_unanswered_looks_end_nothing(watch, flame):
    """Silence is never "nothing there": a claim does not end by looks without an answer."""
    seen = watch()
    for look in range(5):
        seen.see(flame.looking(look))
    for _ in range(300):
        seen.no_answer()
    assert "ended" not in seen.stages()
    seen.see()
    assert "ended" not in seen.stages()


def test_missing_looks_end_nothing(watch, flame):
    """An hour without looks counts for no more than one step."""
    seen = watch()
    for look in range(5):
        seen.see(flame.looking(look))
    seen.step_s = 3600.0
    seen.see()
    seen.see()
    assert "ended" not in seen.stages()


def test_unanswered_looks_add_to_no_dwell(watch, crowd_of, car):
    """Time in which nobody looked is no time in which anything stayed."""
    seen = watch()
    seen.see()
    seen.see(car, *crowd_of(30))
    for _ in range(30):
        seen.no_answer()
    seen.see(car, *crowd_of(30))
    assert seen.said == []


def test_a_long_gap_adds_one_step_to_a_dwell(watch, crowd_of, zone):
    """Two looks an hour apart do not show that a crowd stayed for a minute."""
    seen = watch(zone(Kind.CROWD, crowd=CrowdLimit(10, 60.0)))
    seen.see(*crowd_of(30))
    seen.step_s = 3600.0
    for _ in range(3):
        seen.see(*crowd_of(30))
    assert seen.said == []


def test_a_claim_ends_after_enough_answered_looks(watch, flame):
    """Unanswered looks between answered ones delay the end and do not prevent it."""
    seen = watch()
    for look in range(5):
        seen.see(flame.looking(look))
    for _ in range(20):
        seen.no_answer()
        seen.see()
    assert seen.stages()[-1] == "ended"
    assert seen.seconds(Stage.ENDED) == [34.0]


def test_a_camera_asks_the_network_only_for_what_its_zones_need(camera, zone):
    """Fire and smoke need one part, traffic another, a crowd two; a camera without zones needs none."""
    assert Judge(camera()).parts == set()
    assert Judge(camera(zone(Kind.FIRE))).parts == Judge(camera(zone(Kind.SMOKE))).parts == {Part.FIRE}
    assert Judge(camera(zone(Kind.TRAFFIC))).parts == {Part.PEOPLE}
    assert Judge(camera(zone(Kind.CROWD))).parts == {Part.PEOPLE, Part.CROWD}
    assert Judge(camera(zone(Kind.SMOKE), zone(Kind.TRAFFIC))).parts == {Part.FIRE, Part.PEOPLE}


def test_a_camera_without_zones_says_nothing(camera, watch, flame):
    """No zone, no detector."""
    seen = watch()
    seen.judge = Judge(camera())
    for look in range(9):
        seen.see(flame.looking(look))
    assert seen.said == []


def test_a_look_of_another_camera_is_refused(watch, flame):
    """Mixing two cameras' evidence is a mistake that must not stay silent."""
    seen = watch(camera_id="a")
    seen.camera_id = "b"
    with pytest.raises(ForeignLook, match="'b'"):
        seen.see(flame)
    assert issubclass(ForeignLook, DetectorsError)
    assert issubclass(DetectorsError, GridwatchError)


def test_a_look_that_is_not_newer_is_ignored(watch, flame):
    """The same look twice is not evidence twice."""
    seen = watch()
    seen.see()
    seen.see(flame.looking(1))
    seen.see(flame.looking(2))
    seen.step_s = 0.0
    for look in range(20):
        seen.see(flame.looking(look))
    assert seen.said == []


def test_each_zone_claims_for_itself(watch, flame, zone):
    """Two zones over one fire give two claims with their own ids and names."""
    seen = watch(zone(Kind.FIRE, zone_id="a", name="gate"), zone(Kind.FIRE, zone_id="b", name="yard"))
    for look in range(4):
        seen.see(flame.looking(look))
    assert {(finding.zone_id, finding.zone_name) for finding in seen.said} == {("a", "gate"), ("b", "yard")}
    assert len({finding.finding_id for finding in seen.said}) == 2


def test_a_rebuilt_judge_does_not_reuse_ids(watch, flame, camera, zone):
    """A changed configuration rebuilds the detectors; their ids stay unique within the process."""
    seen = watch(zone(Kind.FIRE))
    for _ in range(2):
        for look in range(4):
            seen.see(flame.looking(look))
        seen.judge = Judge(camera(zone(Kind.FIRE)))
    assert len({finding.finding_id for finding in seen.said}) == 2


def test_each_kind_says_within_what_time_it_claims_anew(camera, zone):
    """The longest rule of a kind decides; a kind that is off needs no time."""
    judge = Judge(
        camera(
            zone(
                Kind.FIRE, Kind.CROWD, Kind.TRAFFIC, crowd=CrowdLimit(10, 60.0), traffic=TrafficLimit(180.0)
            ),
            zone(Kind.CROWD, Kind.TRAFFIC, crowd=CrowdLimit(10, 30.0), traffic=TrafficLimit(900.0)),
        )
    )
    times_s = {kind: judge.claims_within_s(kind) for kind in Kind}
    assert times_s == {Kind.FIRE: 40.0, Kind.SMOKE: 0.0, Kind.CROWD: 75.0, Kind.TRAFFIC: 930.0}


@pytest.mark.parametrize("step_s", [2.0, 4.0, 8.0, 30.0, 100.0])
def test_what_is_there_from_the_start_is_claimed_within_that_time(
    watch, flame, smoke, thing, crowd_of, step_s
):
    """At every cadence, a happening that outlived a restart is claimed again before its time is over."""
    car = thing(ObjectClass.CAR, 0.7, (0.7, 0.7, 0.9, 0.9))
    seen, opened_s, observed_s = watch(step_s=step_s), {}, 0.0
    for look in range(660):
        new = seen.see(car, flame.looking(look), smoke.looking(look), *crowd_of(30))
        observed_s += min(step_s, 8.0) if look else 0.0
        opened_s |= {finding.kind: observed_s for finding in new if finding.stage is Stage.OPENED}
        if len(opened_s) == len(Kind):
            break
    assert set(opened_s) == set(Kind)
    assert all(at_s <= seen.judge.claims_within_s(kind) for kind, at_s in opened_s.items())


boxes = st.lists(
    st.tuples(
        st.sampled_from(ObjectClass),
        st.floats(0.1, 0.99),
        st.floats(0, 0.8),
        st.floats(0, 0.8),
        st.floats(0.02, 0.2),
        st.integers(0, 3),
    ),
    max_size=6,
)
sequences = st.lists(st.one_of(st.none(), boxes), max_size=25)


def play(make_watch, thing, sequence, **options):
    seen = make_watch(**options)
    for answer in sequence:
        if answer is None:
            seen.no_answer()
        else:
            seen.see(*(thing(c, p, (x, y, x + s, y + s), look) for c, p, x, y, s, look in answer))
    return seen.said


@given(sequence=sequences)
@settings(max_examples=25, deadline=None)
def test_the_same_looks_give_the_same_findings(watch_of_module, sequence):
    """Nothing but the looks and their answers decides."""
    watch, thing = watch_of_module
    assert play(watch, thing, sequence) == play(watch, thing, sequence)


@given(sequence=sequences)
@settings(max_examples=25, deadline=None)
def test_a_cameras_name_decides_nothing(watch_of_module, sequence):
    """Another camera id gives the same claims under another name."""
    watch, thing = watch_of_module

    def anonymous(camera_id):
        said = play(watch, thing, sequence, camera_id=camera_id)
        return [(f.kind, f.stage, f.at, f.began_at, f.confidence, f.boxes, dict(f.facts)) for f in said]

    assert anonymous("a") == anonymous("zz-9")


@given(sequence=sequences)
@settings(max_examples=25, deadline=None)
def test_every_claim_is_opened_first_and_ended_at_most_once(watch_of_module, sequence):
    """Whatever is seen, each id is opened once, and nothing follows its end."""
    watch, thing = watch_of_module
    said = play(watch, thing, sequence)
    for finding_id in {finding.finding_id for finding in said}:
        stages = [finding.stage for finding in said if finding.finding_id == finding_id]
        assert stages[0] is Stage.OPENED
        assert stages.count(Stage.OPENED) == 1
        assert Stage.ENDED not in stages[:-1]
    assert all(finding.began_at <= finding.at for finding in said)


@given(sequence=st.lists(st.booleans(), max_size=40))
@settings(max_examples=25, deadline=None)
def test_no_fire_without_three_looks_in_favour(watch_of_module, sequence):
    """However misses and hits alternate, five looks with three hits are needed."""
    watch, thing = watch_of_module
    seen = watch()
    seen.see()
    for number, hit in enumerate(sequence):
        seen.see(*([thing(ObjectClass.FIRE, 0.9, (0.4, 0.4, 0.5, 0.6), number)] if hit else []))
    if seen.said:
        opened = round((seen.said[0].at_mono_s - 102.0) / 2)
        assert sum(sequence[max(0, opened - 5) : opened]) >= 3
    else:
        assert all(sum(sequence[i : i + 5]) < 3 or not sequence[i + 4] for i in range(len(sequence) - 4))


def many(rng, count, class_id):
    corner = rng.uniform(0, 0.95, (count, 2))
    return Detections(
        np.concatenate([corner, corner + 0.02], axis=1).astype(np.float32),
        np.sort(rng.uniform(0.3, 0.9, count))[::-1].astype(np.float32),
        np.full(count, class_id),
        rng.uniform(0, 60, count).astype(np.float32),
    )


def test_memory_is_bounded_and_freed():
    """A picture full of ever new boxes keeps a bounded number of places, and an empty one none."""
    rng = np.random.default_rng(7)
    fires, places = Recurrence(FIRE.thresholds), StandingPlaces()
    for look in range(40):
        moment = Moment(2.0 * look, START, 2.0 * look)
        fires.update(moment, many(rng, 80, ObjectClass.FIRE))
        places.update(moment, vehicles_of(many(rng, 80, ObjectClass.CAR)))
        assert len(fires) <= 24
        assert len(places) <= 48
    for look in range(40, 360):  # what was parked is remembered for ten minutes
        moment = Moment(2.0 * look, START, 2.0 * look)
        fires.update(moment, Detections.none())
        places.update(moment, Detections.none())
    assert (len(fires), len(places)) == (0, 0)
