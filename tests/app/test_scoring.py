# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alerts against truth: found, missed, excused, false."""

import pytest

from gridwatch.app.scoring import ClipAlert, TrueEvent, rate_upper_bound, score_clip, summarise
from gridwatch.core.proportion import wilson
from gridwatch.core.zone import Kind

FIRE = TrueEvent(Kind.FIRE, "", 10, 20, expected=True)


def alert(opened_s: float, kind: Kind = Kind.FIRE, subtype: str = "flame") -> ClipAlert:
    return ClipAlert("a.mp4", kind, subtype, opened_s, opened_s, None, None)


@pytest.mark.parametrize(("opened_s", "found"), [(9.4, 0), (9.5, 1), (20, 1), (30, 1), (30.1, 0)])
def test_an_alert_finds_its_event_only_in_its_time(opened_s, found):
    """From onset − tolerance to end + 10 s; earlier is false, not early."""
    score = score_clip("a.mp4", 60, [FIRE], [alert(opened_s)])
    assert len(score.found) == found
    assert len(score.false) == 1 - found
    assert len(score.missed) == 1 - found


def test_one_alert_finds_one_event_and_a_second_one_is_false():
    """Two alerts of one fire are one too many."""
    score = score_clip("a.mp4", 60, [FIRE], [alert(11), alert(12)])
    assert (len(score.found), len(score.false)) == (1, 1)


def test_traffic_matches_by_subtype():
    """A wrong-way alert does not find a stopped vehicle."""
    event = TrueEvent(Kind.TRAFFIC, "stopped_vehicle", 0, 50, expected=True)
    score = score_clip(
        "a.mp4", 60, [event], [alert(5, Kind.TRAFFIC, "wrong_way"), alert(6, Kind.TRAFFIC, "stopped_vehicle")]
    )
    assert (len(score.found), len(score.false)) == (1, 1)


def test_an_optional_event_excuses_and_is_neither_found_nor_missed():
    """A queue at a signal excuses any alert of its kind in its time."""
    event = TrueEvent(Kind.TRAFFIC, "queue_at_signal", 5, 20, expected=False)
    score = score_clip(
        "a.mp4",
        60,
        [event],
        [alert(10, Kind.TRAFFIC, "stopped_vehicle"), alert(40, Kind.TRAFFIC, "stopped_vehicle")],
    )
    assert (len(score.found), len(score.missed), len(score.excused), len(score.false)) == (0, 0, 1, 1)


def test_the_summary_counts_every_kind():
    """Kinds without events are there too, with their false alarms."""
    table = summarise([score_clip("a.mp4", 3600, [FIRE], [alert(12), alert(12, Kind.SMOKE)])])
    assert table["fire"]["found"] == 1
    assert table["fire"]["median_time_to_detect_s"] == 2
    assert table["smoke"]["false_alarms"] == 1
    assert table["crowd"]["events"] == 0


def test_intervals_are_the_published_ones():
    """Wilson for 5 of 6, and the rule of three for no event in an hour."""
    assert wilson(5, 6) == pytest.approx((0.4365, 0.9699), abs=1e-3)
    assert wilson(0, 0) is None
    assert rate_upper_bound(0, 1) == pytest.approx(2.9957, abs=1e-3)
    assert rate_upper_bound(3, 1) == pytest.approx(7.754, abs=1e-2)
