# SPDX-License-Identifier: AGPL-3.0-or-later
"""Who may be followed."""

from hypothesis import given
from hypothesis import strategies as st

from gridwatch.core.look import Interest
from ingest.follow_budget import FollowBudget

SUSPECT, FORMING, CLAIMED = Interest.SUSPECT, Interest.FORMING, Interest.CLAIMED


def test_no_more_than_allowed_are_followed():
    """Who comes later waits, and is counted; a place given back is free."""
    budget = FollowBudget(2)
    assert [budget.ask(name, SUSPECT, 0.0) for name in "abc"] == [True, True, False]
    assert (budget.following, budget.refused) == (2, 1)
    budget.leave("a")
    assert budget.ask("c", SUSPECT, 1.0)
    assert not budget.holds("a")


def test_open_claims_come_first_then_those_that_form():
    """A higher interest takes the lowest one's place, an equal one does not."""
    budget = FollowBudget(2)
    budget.ask("forms", FORMING, 0.0)
    budget.ask("suspect", SUSPECT, 0.0)
    assert not budget.ask("another", SUSPECT, 0.0)
    assert budget.ask("burns", CLAIMED, 0.0)
    assert [budget.holds(name) for name in ("forms", "suspect", "burns")] == [True, False, True]
    assert not budget.ask("forms-too", FORMING, 0.0)
    assert budget.ask("burns-too", CLAIMED, 0.0)
    assert not budget.ask("burns-three", CLAIMED, 0.0)
    assert not budget.holds("forms")


def test_a_camera_whose_interest_fell_is_the_next_to_go():
    """A place is held with the interest of the last time it was asked for."""
    budget = FollowBudget(1)
    budget.ask("a", CLAIMED, 0.0)
    assert not budget.ask("b", FORMING, 1.0)
    budget.ask("a", SUSPECT, 2.0)
    assert budget.ask("b", FORMING, 3.0)


def test_a_camera_that_went_silent_loses_its_place():
    """Its stream may be gone; while nobody wants the place, it keeps it."""
    budget = FollowBudget(1)
    budget.ask("a", CLAIMED, 0.0)
    assert not budget.ask("b", SUSPECT, 15.0)
    assert budget.holds("a")
    assert budget.ask("b", SUSPECT, 15.1)
    assert not budget.holds("a")


def test_none_may_mean_none():
    """With no place at all nobody is followed, and no group is decoded."""
    budget = FollowBudget(0)
    assert not budget.ask("a", CLAIMED, 0.0)
    assert not budget.may_decode_group(100.0)


def test_groups_in_memory_are_decoded_at_a_bounded_rate():
    """As many at once as may be followed, then one a second."""
    budget = FollowBudget(3)
    times = [100.0] * 5 + [101.0] * 3 + [1000.0] * 5
    assert [budget.may_decode_group(at) for at in times] == [True] * 3 + [False] * 2 + [True] + [
        False
    ] * 2 + [True] * 3 + [False] * 2
    assert budget.refused_groups == 6


@given(
    st.lists(
        st.tuples(
            st.sampled_from("abcdefg"), st.sampled_from(list(Interest)), st.floats(0, 20), st.booleans()
        ),
        max_size=80,
    ),
    st.integers(0, 4),
)
def test_the_bound_holds_whatever_is_asked(steps, at_most):
    """Never more places than allowed, and whoever was told yes has one."""
    budget, now = FollowBudget(at_most), 0.0
    for name, interest, wait_s, leave in steps:
        now += wait_s
        if leave:
            budget.leave(name)
        else:
            assert budget.ask(name, interest, now) == budget.holds(name)
        assert budget.following <= at_most
