# SPDX-License-Identifier: AGPL-3.0-or-later
"""Fire and smoke over time: what recurs and moves is one, a lamp is none."""

import pytest

from gridwatch.core.detections import ObjectClass
from gridwatch.core.finding import Stage
from gridwatch.core.zone import Kind


@pytest.fixture(params=["flame", "smoke"])
def burning(request):
    return request.getfixturevalue(request.param)


def test_a_flame_is_opened_once_updated_and_ended_once(watch, burning):
    """One happening is one claim, however long it lasts."""
    seen = watch()
    for look in range(12):
        seen.see(burning.looking(look))
    for _ in range(30):
        seen.see()
    stages = seen.stages()
    assert (stages[0], stages[-1]) == ("opened", "ended")
    assert set(stages[1:-1]) == {"updated"}
    assert len({finding.finding_id for finding in seen.said}) == 1


def test_it_began_when_it_first_moved(watch, flame):
    """The beginning is the first look in favour, not the one that opened the claim."""
    seen = watch()
    seen.see()
    for look in range(3):
        seen.see(flame.looking(look))
    opened = seen.said[0]
    assert (opened.at - opened.began_at).total_seconds() == 4.0
    assert opened.facts["looks_in_favour"] == 3


@pytest.mark.parametrize("step_s", [1.0, 2.0, 4.0])
def test_three_looks_suffice_at_every_cadence(watch, flame, step_s):
    """Cadences of 1, 2 and 4 s all open with the third look in favour."""
    seen = watch(step_s=step_s)
    seen.see()
    for look in range(3):
        seen.see(flame.looking(look))
    assert seen.seconds(Stage.OPENED) == [4 * step_s]


def test_at_two_looks_a_second_the_evidence_must_still_span_time(watch, flame):
    """Many looks within a moment are not evidence over time."""
    seen = watch(step_s=0.5)
    seen.see()
    for look in range(8):
        seen.see(flame.looking(look))
    assert seen.seconds(Stage.OPENED) == [3.0]


def test_a_lamp_recurs_perfectly_and_is_nothing(watch, burning):
    """A box whose inside never changes is a fixture, whatever its confidence."""
    seen = watch()
    for _ in range(40):
        seen.see(burning)
    assert seen.said == []


def test_a_lamp_under_hunting_exposure_is_nothing(watch, burning):
    """Brightness that goes up and down everywhere is no movement of the lamp."""
    seen = watch()
    for look in range(40):
        seen.see(burning, brightness=30 * (look % 2))
    assert seen.said == []


def test_a_passer_by_before_a_lamp_is_nothing(watch, flame):
    """One changed look in several does not make a lamp burn."""
    seen = watch()
    for look in range(40):
        seen.see(flame.looking(look // 5))
    assert seen.said == []


def test_single_looks_are_nothing(watch, burning):
    """A box that shows up once in a while opens nothing."""
    seen = watch()
    for look in range(40):
        seen.see(*([burning.looking(look)] if look % 4 == 0 else []))
    assert seen.said == []


def test_boxes_in_ever_new_places_are_nothing(watch, thing):
    """Recurrence means the same place."""
    seen = watch()
    for look in range(40):
        x = 0.1 + 0.2 * (look % 4)
        seen.see(thing(ObjectClass.FIRE, 0.6, (x, 0.4, x + 0.05, 0.5), look))
    assert seen.said == []


def test_low_scores_alone_are_nothing(watch, flame, thing):
    """One of the looks must reach the network's operating point."""
    seen = watch()
    for look in range(40):
        seen.see(thing(ObjectClass.FIRE, 0.34, flame.xyxy, look))
    assert seen.said == []


def test_a_flame_that_grows_stays_one_place(watch, thing):
    """A box that grows and splits is the same fire, and its growth is a fact."""
    seen = watch()
    for look in range(12):
        half = 0.03 + 0.015 * look
        seen.see(thing(ObjectClass.FIRE, 0.6, (0.5 - half, 0.7 - 3 * half, 0.5 + half, 0.7), look))
    assert seen.stages().count("opened") == 1
    assert seen.said[-1].facts["growth"] > 5


def test_a_fire_whose_box_falls_apart_stays_one_place(watch, thing):
    """A small box in the corner of the large one of the look before is the same fire."""
    seen = watch()
    seen.see()
    for look in range(3):
        whole, part = (0.2, 0.2, 0.7, 0.8), (0.22, 0.22, 0.32, 0.34)
        seen.see(thing(ObjectClass.FIRE, 0.6, whole if look % 2 == 0 else part, look))
    assert seen.stages() == ["opened"]


def test_a_missed_look_does_not_lose_the_flame(watch, flame):
    """Two misses in five looks still open, and a few later ones do not end."""
    seen = watch()
    for look in range(30):
        seen.see(*([] if look % 3 == 0 else [flame.looking(look)]))
    assert seen.stages().count("opened") == 1
    assert "ended" not in seen.stages()


def test_a_flame_that_turns_into_a_still_picture_ends(watch, flame):
    """A box that merely continues does not keep a claim alive."""
    seen = watch()
    for look in range(6):
        seen.see(flame.looking(look))
    for _ in range(12):
        seen.see(flame.looking(99))
    assert seen.stages()[-1] == "ended"


def test_outside_its_zone_nothing_is_claimed(watch, flame, zone):
    """A zone is where a detector works."""
    left = ((0.0, 0.0), (0.3, 0.0), (0.3, 1.0), (0.0, 1.0))
    seen = watch(zone(Kind.FIRE, polygon=left))
    for look in range(10):
        seen.see(flame.looking(look))
    assert seen.said == []


def test_without_a_zone_a_detector_is_off(watch, flame, zone):
    """A camera with a smoke zone only says nothing of fire."""
    seen = watch(zone(Kind.SMOKE))
    for look in range(10):
        seen.see(flame.looking(look))
    assert seen.said == []


def test_updates_are_sparing(watch, flame):
    """At one look a second a claim is updated every second look at most."""
    seen = watch(step_s=1.0)
    for look in range(24):
        seen.see(flame.looking(look))
    gaps = [b.at_mono_s - a.at_mono_s for a, b in zip(seen.said, seen.said[1:], strict=False)]
    assert len(gaps) >= 8
    assert min(gaps) >= 2.0


def test_a_new_fire_after_the_end_is_a_new_claim(watch, flame):
    """What ended does not lend its evidence or its name to what comes later."""
    seen = watch()
    for _ in range(2):
        for look in range(4):
            seen.see(flame.looking(look))
        for _ in range(12):
            seen.see()
    opened = [finding for finding in seen.said if finding.stage is Stage.OPENED]
    assert len({finding.finding_id for finding in opened}) == 2
    assert opened[1].began_at > opened[0].at


def test_faint_smoke_counts_beside_a_fire_only(watch, flame, thing):
    """Where a fire is claimed on the camera, two looks of faint smoke suffice; alone they do not."""

    def faint(look):
        x = 0.1 + 0.4 * (look % 2)
        return thing(ObjectClass.SMOKE, 0.3, (x, 0.05, x + 0.2, 0.3), look)

    alone, beside = watch(), watch()
    for look in range(8):
        alone.see(faint(look))
        beside.see(faint(look), flame.looking(look))
    assert alone.said == []
    smoke = [finding for finding in beside.said if finding.kind is Kind.SMOKE]
    assert smoke[0].facts["beside_fire"] == 1


def test_what_looked_a_little_like_smoke_before_a_fire_is_none_beside_it(watch, flame, thing):
    """A flag that moves hung there all the time; faint smoke that has come with the fire counts."""

    def faint(look, y):
        return thing(ObjectClass.SMOKE, 0.3, (0.04, y, 0.15, y + 0.16), look)

    flag, smoke = watch(), watch()
    for look in range(28):
        burning = [flame.looking(look)] if look >= 20 else []
        hanging = (
            [] if look in range(13, 20) else [faint(look, 0.22)]
        )  # the network does not see it all the time
        flag.see(*hanging, *burning)
        smoke.see(*burning, *([faint(look, 0.22)] if burning else []))
    assert [each.kind for each in flag.said if each.stage is Stage.OPENED] == [Kind.FIRE]
    assert [each.kind for each in smoke.said if each.stage is Stage.OPENED] == [Kind.FIRE, Kind.SMOKE]


def test_evidence_boxes_name_classes_only(watch, flame):
    """A finding shows where it was seen, labelled with the class."""
    seen = watch()
    for look in range(4):
        seen.see(flame.looking(look))
    box = seen.said[0].boxes[0]
    assert (box.x0, box.y1, box.label, box.confidence) == (0.4, 0.6, "fire", 0.6)


@pytest.mark.parametrize("step_s", [25.0, 30.0, 45.0, 110.0])
def test_a_camera_looked_at_seldom_claims_all_the_same(watch, burning, step_s):
    """Where looks are always far apart, the look before is what there is to compare with: it opens and stays."""
    seen = watch(step_s=step_s)
    for look in range(20):
        seen.see(burning.looking(look))
    # Nothing is known of the first look, nor of the second, before which no interval was usual.
    assert seen.seconds(Stage.OPENED) == [5 * step_s]
    assert "ended" not in seen.stages()


def test_a_lamp_looked_at_seldom_is_nothing(watch, burning):
    """A slow cadence does not make a fixture move."""
    seen = watch(step_s=30.0)
    for look in range(40):
        seen.see(burning, brightness=30 * (look % 2))
    assert seen.said == []


def test_looks_that_cannot_be_measured_end_nothing(watch, burning):
    """A camera that shakes, with the flame in every look, says neither that it burns nor that it went out."""
    seen = watch()
    for look in range(6):
        seen.see(burning.looking(look))
    for _ in range(40):
        seen.see_shaken(burning)
    assert "ended" not in seen.stages()


def test_looks_too_far_apart_end_nothing(watch, burning):
    """Beyond two minutes nothing is compared; a flame in every look does not end by that."""
    seen = watch()
    for look in range(6):
        seen.see(burning.looking(look))
    seen.step_s = 150.0
    for look in range(40):
        seen.see(burning.looking(look))
    assert "ended" not in seen.stages()


def test_time_that_cannot_be_measured_does_not_count_towards_the_end(watch, flame):
    """After such looks, the end takes as long from the last one that told as it always does."""
    seen = watch()
    for look in range(6):
        seen.see(flame.looking(look))
    for _ in range(2):
        seen.see()
    for _ in range(10):
        seen.see_shaken(flame)
    for _ in range(10):
        seen.see()
    # Twelve observed seconds without it: two looks before the shaking, four after it.
    assert seen.seconds(Stage.ENDED) == [12.0 + 4.0 + 20.0 + 8.0]
    assert seen.said[-1].facts["unseen_s"] == 12.0
    assert seen.said[-1].facts["looks_without"] == 6


def test_boxes_elsewhere_that_cannot_be_measured_hold_nothing(watch, flame, thing):
    """A reflection in another corner of a shaken picture is not the flame; what ended stays ended."""
    seen = watch()
    for look in range(6):
        seen.see(flame.looking(look))
    for _ in range(7):
        seen.see_shaken(thing(ObjectClass.FIRE, 0.6, (0.8, 0.1, 0.9, 0.2)))
    for _ in range(3):
        seen.see()
    assert seen.stages().count("ended") == 1
    assert seen.stages()[-1] == "ended"


@pytest.mark.parametrize(("shaken_looks", "is_claimed"), [(5, True), (15, False)])
def test_looks_in_favour_outlast_a_short_shake_only(watch, flame, thing, shaken_looks, is_claimed):
    """Beside a fire, looks that could not be measured neither cost evidence nor keep it beyond its 24 s."""

    def faint(look):
        return thing(ObjectClass.SMOKE, 0.3, (0.1, 0.05, 0.3, 0.3), look)

    seen = watch()
    for look in range(4):
        seen.see(flame.looking(look), *([faint(look)] if look == 3 else []))
    for _ in range(shaken_looks):
        seen.see_shaken(flame, faint(0))
    seen.see(flame.looking(7))
    assert [finding.kind for finding in seen.said if finding.stage is Stage.OPENED] == [Kind.FIRE]
    seen.see(flame.looking(8), faint(8))
    assert (Kind.SMOKE in {finding.kind for finding in seen.said}) is is_claimed


def test_what_the_network_would_rather_call_smoke_is_no_flame(watch, zone, flame, smoke):
    """White smoke in the sun scores as fire too, in the same box but lower: one claim, of smoke."""
    seen = watch(zone(Kind.FIRE, Kind.SMOKE))
    for look in range(12):
        plume = smoke.looking(look)
        as_fire = type(flame)(flame.cls, plume.confidence - 0.1, plume.xyxy, look)
        seen.see(plume, as_fire)
    assert {finding.kind for finding in seen.said} == {Kind.SMOKE}


def test_a_flame_stays_one_beside_weaker_or_other_smoke(watch, zone, flame, smoke):
    """Smoke that scores lower in the same box, or stands elsewhere, takes nothing from a fire."""
    seen = watch(zone(Kind.FIRE, Kind.SMOKE))
    for look in range(12):
        fire = flame.looking(look)
        seen.see(fire, type(smoke)(smoke.cls, fire.confidence - 0.1, fire.xyxy, look), smoke.looking(look))
    assert Kind.FIRE in {finding.kind for finding in seen.said}
