# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who has to take turns at all, and who is watched without a break."""

from itertools import pairwise

import pytest

from ingest.budget import Budget
from ingest.division import divide
from ingest.risk import by_hour
from ingest.turns import Watched
from tests.ingest.attention_kit import Fleet, fleet


@pytest.mark.parametrize(
    "budget",
    [
        Budget(40),
        Budget(99, key_frames_per_s=20.0),
        Budget(99, mbit_per_s=160.0),
        Budget(40, sessions={"nvr": 1}),
    ],
)
def test_where_the_budget_is_enough_nobody_takes_turns(budget):
    """Forty cameras that may all be connected are all held."""
    divided = divide(fleet(40), budget)
    assert (len(divided.held), divided.turns) == (40, ())


@pytest.mark.parametrize(
    "budget",
    [Budget(95), Budget(200, key_frames_per_s=45), Budget(200, looks_per_s=45), Budget(200, mbit_per_s=380)],
)
def test_where_it_is_nearly_enough_the_riskiest_are_held(budget):
    """A hundred cameras over what suffices for 95 or less: most are held, none of them less risky than those that take turns."""
    divided = divide(fleet(100), budget)
    assert 60 < len(divided.held) < 100
    assert len(divided.held) + len(divided.turns) == 100
    held, turns = (
        [item.risk * max(by_hour(item.place)) for item in some] for some in (divided.held, divided.turns)
    )
    assert min(held) >= max(turns)


def test_those_that_take_turns_come_round_quickly():
    """With what is left of the budget each of them is visited again and again within a short while."""
    divided = divide([Watched(f"cam-{n}") for n in range(100)], Budget(90))
    run = Fleet(list(divided.turns), divided.budget)
    run.run(1200)
    for camera_id in run.cameras:
        times = [at for at, who in run.log if who == camera_id]
        assert max(after - before for before, after in pairwise(times)) < 45


def test_where_it_is_far_from_enough_nobody_is_held():
    """A thousand cameras over ten connections: nobody sits on a connection that all others wait for."""
    divided = divide(fleet(1000), Budget(10))
    assert (divided.held, divided.budget) == ((), Budget(10))


def test_cameras_of_a_bounded_recorder_take_turns():
    """Its two sessions are for all 30 of its cameras, however risky one is; the others are held."""
    behind = [Watched(f"nvr-{n}", risk=4.0, recorder="nvr") for n in range(30)]
    divided = divide([*fleet(20), *behind], Budget(60, sessions={"nvr": 2}))
    assert {item.camera_id for item in divided.held} == {item.camera_id for item in fleet(20)}


def test_a_recorder_with_a_session_for_each_camera_bounds_nobody():
    """Another recorder has too few: its cameras alone take turns."""
    enough = [Watched(f"one-{n}", recorder="nvr-1") for n in range(16)]
    short = [Watched(f"two-{n}", risk=4.0, recorder="nvr-2") for n in range(5)]
    divided = divide([*short, *enough], Budget(1000, sessions={"nvr-1": 16, "nvr-2": 4}))
    assert {item.recorder for item in divided.held} == {"nvr-1"}
    assert len(divided.held) == 16
    assert {item.recorder for item in divided.turns} == {"nvr-2"}


def test_nobody_to_watch_is_nobody_held():
    """Without cameras there is nothing to divide."""
    assert divide([], Budget(3)).held == ()
