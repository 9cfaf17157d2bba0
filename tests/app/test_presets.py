# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a place presets, what wins over it, and that nothing is looked for where the owner has to decide."""

from pathlib import Path
from typing import get_args

import pytest

from gridwatch.app.cameras import CameraFields, camera_of, flaws_of, why_off
from gridwatch.app.presets import PRESETS, Place, preset_zones
from gridwatch.core.camera import Watch
from gridwatch.core.geometry import WHOLE_PICTURE
from gridwatch.core.zone import Kind

DOCS = Path(__file__).parents[2] / "docs" / "cameras.md"


def camera(**said):
    return camera_of(CameraFields.model_validate({"id": "a", "url": "rtsp://192.0.2.1/1"} | said))


def flaws(**said):
    return [
        text for _, text in flaws_of(CameraFields.model_validate({"id": "a", "url": "rtsp://h/1"} | said))
    ]


def test_the_test_cameras_id_is_its_own():
    """Two cameras of one id would be one to everybody who counts them."""
    assert flaws(id="gridwatch-canary") == ["is the test camera's own: give this one another id"]


@pytest.mark.parametrize("place", get_args(Place))
def test_every_place_presets_zones_over_the_whole_picture(place):
    """A zone a limit; every crowd zone says its safety reason; each kind of the preset is looked for once."""
    zones = preset_zones(place)
    assert [zone.polygon for zone in zones] == [WHOLE_PICTURE] * len(zones)
    assert len({zone.zone_id for zone in zones}) == len(zones)
    looked_for = [kind for zone in zones for kind in zone.kinds]
    assert sorted(looked_for) == sorted(PRESETS[place].kinds)
    assert all(zone.purpose for zone in zones if Kind.CROWD in zone.kinds)


@pytest.mark.parametrize("place", get_args(Place))
def test_the_table_of_places_is_the_table_in_the_documents(place):
    """What an operator reads is what is preset."""
    preset = PRESETS[place]
    rows = [
        line
        for line in DOCS.read_text("utf-8").splitlines()
        if line.startswith(f"| `{place}` {preset.chinese}")
    ]
    cells = [cell.strip() for cell in rows[0].strip("|").split("|")]
    assert cells[1] == (" ".join(f"`{kind}`" for kind in Kind if kind in preset.kinds) or "nothing")
    assert cells[2] == f"{preset.crowd.limit}, {preset.crowd.dwell_s:g} s"
    assert cells[3] == f"{preset.traffic.stopped_dwell_s:g} s"
    assert cells[4] == ("; ".join(preset.crowd_active) or "always")


def test_a_market_counts_people_and_a_fast_road_watches_for_stopped_vehicles():
    """Two of the table, as cameras have them."""
    (burning, crowd) = camera(place="market").zones
    assert (burning.kinds, crowd.crowd.limit) == ({Kind.FIRE, Kind.SMOKE}, 80)
    (_, traffic) = camera(place="fast_road").zones
    assert traffic.traffic.stopped_dwell_s == 20


def test_what_a_line_says_itself_wins():
    """Kinds and limit in place of the preset's; zones in place of everything."""
    (only,) = camera(place="market", kinds=["crowd"], crowd_limit=250).zones
    assert (only.kinds, only.crowd.limit, only.crowd.dwell_s) == ({Kind.CROWD}, 250, 120)
    (drawn,) = camera(place="market", zones=[{"id": "z", "kinds": ["smoke"]}]).zones
    assert (drawn.zone_id, drawn.kinds) == ("z", {Kind.SMOKE})


def test_at_a_school_nothing_is_looked_for_until_somebody_says_so():
    """Its camera is off, with the reason, even if its line says on; kinds or zones enable it."""
    quiet = camera(place="school_gate", watch="on")
    assert (quiet.zones, quiet.watch) == ((), Watch.OFF)
    assert "the owner of the place decides" in why_off(quiet)
    enabled = camera(place="school_gate", kinds=["fire", "crowd"])
    assert (enabled.watch, why_off(enabled)) == (Watch.ON, "")
    assert [zone.crowd.limit for zone in enabled.zones_for(Kind.CROWD)] == [60]


def test_a_camera_that_is_switched_off_says_so():
    """Off and maintenance are reasons of their own."""
    assert why_off(camera(watch="off")) == "switched off"
    assert why_off(camera(watch="maintenance")) == "in maintenance"


def test_fields_that_contradict_each_other_are_named():
    """A preset's fields beside drawn zones, a limit where crowds are not looked for."""
    zones = [{"id": "z", "kinds": ["fire"]}]
    assert flaws(kinds=["fire"], zones=zones) == ["is for cameras without zones: say it in the zones"]
    assert flaws(crowd_limit=5, zones=zones) == ["is for cameras without zones: say it in the zones"]
    assert flaws(place="street", crowd_limit=5) == ["crowds are not looked for here; name them in kinds"]
    assert flaws(place="market", crowd_limit=5) == []


@pytest.mark.parametrize("place", get_args(Place))
def test_fire_and_smoke_are_looked_for_always_wherever(place):
    """Only what is no loss of safety has times: the counting of persons, where the field knows when they come."""
    zones = preset_zones(place, frozenset(Kind))
    scheduled = {kind for zone in zones if zone.active is not None for kind in zone.kinds}
    assert scheduled == ({Kind.CROWD} if place in ("market", "school_gate") else set())


def test_a_lines_times_are_those_of_crowds_and_vehicles():
    """In place of the preset's, or where there are none; fire and smoke keep theirs, which is always."""
    times = {zone.zone_id: zone.active for zone in camera(place="market", kinds=list(Kind)).zones}
    assert [str(times[name]) for name in ("picture", "crowd", "traffic")] == ["None", "05:00-21:00", "None"]
    said = camera(place="market", kinds=list(Kind), active=["sat 00:00-24:00"]).zones
    assert [str(zone.active) for zone in said] == ["None", "sat 00:00-24:00", "sat 00:00-24:00"]
    assert "fire and smoke have times in zones only" in flaws(place="street", active="08:00-09:00")[0]
    assert flaws(active="08:00-09:00", zones=[{"id": "z", "kinds": ["fire"]}]) == [
        "is for cameras without zones: say it in the zones"
    ]
