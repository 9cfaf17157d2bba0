# SPDX-License-Identifier: AGPL-3.0-or-later
"""Codes, lanes, levels, deadlines and words: complete, neutral, and never about the cause of a crowd."""

from datetime import UTC, datetime, timedelta

import pytest

from events.categories import CATEGORIES, category_of, due_of, lane_of, severity_of, text_of, unit_hint_of
from gridwatch.core.zone import Kind

AT = datetime(2026, 11, 26, tzinfo=UTC)
EXPECTED = {
    (Kind.CROWD, "density"): ("CROWD-01", 3, "non_police"),
    (Kind.CROWD, "count"): ("CROWD-02", 3, "non_police"),
    (Kind.CROWD, "flow"): ("CROWD-03", 2, "police"),
    (Kind.FIRE, "flame"): ("FIRE-01", 1, "fire"),
    (Kind.FIRE, "open_burning"): ("FIRE-02", 3, "non_police"),
    (Kind.SMOKE, "smoke"): ("SMOKE-01", 2, "fire"),
    (Kind.TRAFFIC, "congestion"): ("TRAF-01", 4, "non_police"),
    (Kind.TRAFFIC, "stopped_vehicle"): ("TRAF-02", 4, "non_police"),
    (Kind.TRAFFIC, "wrong_way"): ("TRAF-03", 2, "police"),
    (Kind.TRAFFIC, "pedestrian_on_road"): ("TRAF-04", 2, "police"),
    (Kind.TRAFFIC, "debris"): ("TRAF-05", 3, "non_police"),
    (Kind.TRAFFIC, "crash"): ("TRAF-06", 2, "police"),
}


def test_every_kind_and_subtype_has_its_category():
    """The table is the one of the domain notes: code, default level and lane."""
    found = {
        key: (
            category.code,
            severity_of(category, "street", {}),
            lane_of(category, "street", category.severity),
        )
        for key, category in CATEGORIES.items()
    }
    assert found == EXPECTED


@pytest.mark.parametrize("kind", list(Kind))
def test_an_unknown_subtype_counts_as_the_usual_one(kind):
    """A new subtype of a detector is recorded all the same."""
    assert category_of(kind, "brand_new").code in {"FIRE-01", "SMOKE-01", "CROWD-02", "TRAF-02"}


def test_a_fast_road_makes_a_stopped_vehicle_urgent():
    """There it is a matter of the police at level 2; other traffic is not changed by it."""
    stopped, debris = category_of(Kind.TRAFFIC, "stopped_vehicle"), category_of(Kind.TRAFFIC, "debris")
    assert (severity_of(stopped, "fast_road", {}), lane_of(stopped, "fast_road", 2)) == (2, "police")
    assert (severity_of(debris, "fast_road", {}), lane_of(debris, "fast_road", 3)) == (3, "non_police")


@pytest.mark.parametrize(
    ("density", "before", "level"),
    [
        (1.0, None, 4), (2.0, None, 4), (3.0, None, 3), (4.0, None, 2), (5.0, None, 1), (9.0, None, 1),
        (4.6, 1, 1), (4.4, 1, 2), (3.6, 2, 2), (3.4, 2, 3), (4.9, 2, 2), (5.0, 2, 1), (2.6, 3, 3), (2.4, 3, 4),
    ],
)  # fmt: skip
def test_a_density_decides_the_level_with_hysteresis(density, before, level):
    """A level begins at its threshold and is left half a person per square metre below it."""
    category = category_of(Kind.CROWD, "density")
    assert severity_of(category, "street", {"density_per_m2": density}, before) == level


def test_deadlines_run_from_opening_and_from_confirmation():
    """Before a confirmation only the review runs; afterwards the others, one after the other."""
    assert due_of(2, AT, None) == {"review": AT + timedelta(seconds=120)}
    confirmed = AT + timedelta(minutes=1)
    due = due_of(3, AT, confirmed)
    assert due["sign"] == confirmed + timedelta(hours=2)
    assert due["handle"] == confirmed + timedelta(hours=24)
    assert due["verify"] == confirmed + timedelta(hours=72)


def test_the_grid_names_the_unit_else_the_platform():
    """Category before kind before default; without any the platform of the category."""
    category = category_of(Kind.FIRE, "flame")
    units = {"FIRE-01": "消防站", "fire": "综合站", "default": "网格办"}
    assert unit_hint_of(category, Kind.FIRE, units) == "消防站"
    assert unit_hint_of(category, Kind.FIRE, {"fire": "综合站", "default": "网格办"}) == "综合站"
    assert unit_hint_of(category, Kind.FIRE, {"default": "网格办"}) == "网格办"
    assert unit_hint_of(category, Kind.FIRE, {}) == "综治工作平台"


def test_words_are_suspicions_and_numbers():
    """Fire and smoke are 疑似 and name 119; a crowd is a number with its interval and limit, and nothing about why."""
    fire = text_of(category_of(Kind.FIRE, "flame"), "桥头", "桥面", {"looks_in_favour": 3, "looks_taken": 5})
    assert "疑似明火" in fire["zh"]
    assert "119" in fire["zh"]
    assert "119" in fire["en"]
    facts = {"count": 85, "count_low": 70, "count_high": 100, "limit": 50, "dwell_s": 31.4}
    crowd = text_of(category_of(Kind.CROWD, "count"), "市场入口", "", facts)
    assert (
        crowd["zh"]
        == "市场入口画面中出现区域人数超限，约85人（估计70至100人，限值50人），已持续31秒，请核实。"
    )
    assert "about 85 people (estimate 70 to 100, limit 50), for 31 s" in crowd["en"]
    words = "".join(category.zh + category.en for category in CATEGORIES.values())
    assert not any(
        word in words for word in ("聚集", "信访", "上访", "闹", "protest", "petition", "assembly")
    )


def test_titles_fit_the_queue():
    """Every title has at most 30 characters."""
    assert all(len(category.zh) <= 30 for category in CATEGORIES.values())
