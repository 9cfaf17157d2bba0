# SPDX-License-Identifier: AGPL-3.0-or-later
"""How long evidence is kept, as the configuration says it."""

import pytest

from events.alerts import Decision
from events.policy import KeepDays
from gridwatch.app.settings import load_settings
from gridwatch.app.yaml_border import ConfigError


def settings_of(tmp_path, text):
    file = tmp_path / "gridwatch.yaml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file)[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", (90, 90, 30)),
        ("evidence: {keep_days: 7}", (7, 7, 7)),
        ("evidence: {keep_days: {dismissed: 3}}", (90, 90, 3)),
        ("evidence: {keep_days: {confirmed: 365, pending: 60, dismissed: 1}}", (365, 60, 1)),
    ],
)
def test_days_are_one_number_or_one_for_each_decision(tmp_path, text, expected):
    """What is not said keeps its default."""
    days = KeepDays(**settings_of(tmp_path, text).evidence.keep_days.model_dump())
    assert (
        days.of(Decision.CONFIRMED),
        days.of(Decision.PENDING),
        days.of(Decision.DISMISSED),
    ) == expected


@pytest.mark.parametrize(
    "days", ["0", "-1", "{dismissed: 0}", "{rejected: 3}", "true", "soon", "[1, 2, 3]", "1000000"]
)
def test_a_wrong_number_of_days_is_a_mistake_with_its_line(tmp_path, days):
    """Nothing is ever kept for no time, or for ever by a slip."""
    with pytest.raises(ConfigError, match=r"gridwatch\.yaml:2: evidence\.keep_days"):
        settings_of(tmp_path, f"evidence:\n  keep_days: {days}\n")
