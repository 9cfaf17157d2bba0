# SPDX-License-Identifier: AGPL-3.0-or-later
"""How much more often than others a camera is visited."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest

from gridwatch.app.cameras import CameraFields
from gridwatch.core.camera import Camera
from gridwatch.core.redact import SecretUrl
from ingest.risk import BY_PLACE, HOURS, LEAST, MOST, bounded, by_history, by_hour
from ingest.turns import Watched

DOCUMENT = Path(__file__).parents[2] / "docs/attention.md"


def test_every_place_has_a_weight_for_every_hour():
    """The places of the configuration are those of the table, and each has 24 weights."""
    assert set(get_args(CameraFields.model_fields["place"].annotation)) == set(BY_PLACE)
    assert all(len(hours) == HOURS for hours in BY_PLACE.values())
    assert all(LEAST <= weight <= MOST for hours in BY_PLACE.values() for weight in hours)


@pytest.mark.parametrize(("place", "day", "night"), [("market", 1.5, 1.0), ("yard", 1.0, 1.5)])
def test_the_hour_counts(place, day, night):
    """A market matters more by day, a yard by night, midnight included."""
    assert [by_hour(place)[hour] for hour in (12, 2)] == [day, night]


def test_an_unknown_place_is_a_street():
    """A place that nobody described gets the weight of a street."""
    assert by_hour("moon") == by_hour("street")


def test_history_raises_the_weight_less_and_less():
    """One confirmed incident doubles it; many do not make it grow without bound."""
    weights = [by_history(count) for count in (-1, 0, 1, 3, 7, 1000)]
    assert weights == [1.0, 1.0, 2.0, 3.0, 4.0, MOST]


def test_risk_is_bounded():
    """No camera is forgotten, and none takes everything."""
    assert [bounded(risk) for risk in (0.0, 1.0, 99.0)] == [LEAST, 1.0, MOST]


def test_what_is_known_of_a_camera_makes_its_turn():
    """Place, recorder and history are taken over; a sub-stream brings less than a main stream."""
    camera = Camera("gate", "", SecretUrl("rtsp://10.0.0.1/main"), place="market", recorder="nvr-1")
    assert Watched.of(camera, confirmed=3) == Watched("gate", 3.0, "market", "nvr-1")
    beside = replace(camera, recorder="", sub_url=SecretUrl("rtsp://10.0.0.1:554/sub"))
    assert Watched.of(beside).mbit_per_s < Watched.of(camera).mbit_per_s
    assert Watched.of(beside).recorder == beside.reached_through


def test_the_document_shows_the_table():
    """Each place stands in docs/attention.md with its weights, the usual one first."""
    text = DOCUMENT.read_text(encoding="utf-8")
    for place, hours in BY_PLACE.items():
        weights = [f"{weight:g}" for weight in sorted(set(hours))]
        assert f"| `{place}` | {'; '.join(weights)} |" in text
