# SPDX-License-Identifier: AGPL-3.0-or-later
"""The edges of taking turns: what is counted as covered, who leaves in the middle, what is refused, what is remembered."""

import pytest

from ingest.attention import Attention
from ingest.budget import Budget, Policy
from ingest.round import Round
from ingest.turns import Outcome, Turn, Watched
from tests.ingest.attention_kit import fleet


def test_no_risk_takes_everything_and_none_is_nothing():
    """Weights are bounded: the least camera is promised a visit within 16 times the time of the riskiest."""
    attention = Attention([Watched("a", risk=1e9), Watched("b", risk=1e-9)], Budget(1))
    extra_s = 2 * Policy().within_s
    assert attention.bound_s("b") - extra_s == pytest.approx(16 * (attention.bound_s("a") - extra_s))


def test_coverage_is_the_share_of_time_with_a_fresh_picture():
    """Two visits of 2 s of pictures each, every picture good for 4 s more: 12 s of 100 are covered."""
    attention = Attention([Watched("a")], Budget(1))
    attention.plan(0.0)
    attention.visited("a", 5.0, Outcome.QUIET, 5.0, seen_s=2.0)
    attention.plan(50.0)
    attention.visited("a", 55.0, Outcome.QUIET, 5.0, seen_s=2.0)
    assert attention.turns_taken("a", 57.0).covered_s == 10.0  # what lies ahead does not count yet
    taken = attention.turns_taken("a", 100.0)
    assert (taken.covered_s, taken.watched_s, taken.share) == (12.0, 100.0, 0.12)
    assert (taken.visits, taken.failed, taken.longest_s) == (2, 0, 50.0)


def test_coverage_counts_continuous_watching_and_begins_afresh():
    """A camera that is watched without a break is covered all the time; a new day begins with nothing."""
    attention = Attention([Watched("a"), Watched("b")], Budget(2))
    attention.plan(0.0)
    for name in "ab":
        attention.visited(name, 4.0, Outcome.FAILED, 4.0)
    attention.promote("a", 10.0)
    assert attention.plan(10.0).continuous == {"a"}
    assert attention.turns_taken("a", 40.0).covered_s == 30.0
    attention.begin_afresh(40.0)
    assert attention.turns_taken("a", 50.0).share == 1.0
    attention.demote("a", 50.0)
    assert attention.turns_taken("a", 90.0).covered_s == 14.0
    assert attention.turns_taken("b", 90.0).covered_s == 0.0


def test_a_camera_removed_during_its_visit_holds_its_slot_until_the_end():
    """The connection still stands: nobody else gets the slot, and the camera may come back meanwhile."""
    attention = Attention([Watched("a"), Watched("b")], Budget(1))
    first = attention.plan(0.0).visit[0].camera_id
    attention.remove(first, 1.0)
    assert attention.plan(1.0).visit == ()
    attention.add(Watched(first), 2.0)
    assert attention.plan(2.0).visit == ()
    assert attention.visited(first, 3.0, Outcome.QUIET, 3.0) is not None
    assert len(attention.plan(3.0).visit) == 1


@pytest.mark.parametrize("outcome", [Outcome.SUSPICIOUS, Outcome.FAILED, Outcome.REFUSED])
@pytest.mark.parametrize("planned", [False, True])
def test_a_camera_changed_during_its_visit_is_tried_at_once(outcome, planned):
    """What came of its old address says nothing of the new one: neither lost nor refused nor suspicious."""
    attention = Attention([Watched("a")], Budget(4))
    attention.plan(0.0)
    attention.remove("a", 1.0)
    attention.add(Watched("a", risk=2.0), 1.0)
    if planned:
        promised = attention.plan(1.0).promised
        assert promised[-1].bound_s == pytest.approx(attention.bound_s("a"))
    attention.visited("a", 2.0, outcome, 2.0)
    attention.spend(Budget(4), 2.5)  # everything is put in order anew
    plan = attention.plan(3.0)
    assert [(visit.camera_id, visit.within_s) for visit in plan.visit] == [("a", Policy().within_s)]
    assert plan.continuous == frozenset()
    assert attention.bound_s("a") < Policy().refused_rest_s
    assert attention.turns_taken("a", 3.0).visits == 0
    attention.visited("a", 5.0, Outcome.QUIET, 2.0)
    assert attention.turns_taken("a", 5.0).visits == 1


def test_a_visit_of_a_removed_camera_promises_nothing():
    """What came of it is not counted, and its slot is free."""
    attention = Attention([Watched("a")], Budget(1))
    attention.plan(0.0)
    attention.remove("a", 1.0)
    assert attention.visited("a", 2.0, Outcome.QUIET, 2.0) is None
    attention.add(Watched("b"), 2.0)
    assert [visit.camera_id for visit in attention.plan(2.0).visit] == ["b"]
    with pytest.raises(KeyError):
        attention.bound_s("a")


def test_a_visit_that_overruns_is_told_before_its_promise_passes():
    """The one visit never ends: its promise is moved, and the others' as well, without any being broken in silence."""
    attention = Attention(fleet(5), Budget(1))
    plan = attention.plan(0.0)
    by_s = {promise.camera_id: promise.by_s for promise in plan.promised}
    now_s = 0.0
    while now_s < 3000:
        now_s = max(min(plan.again_s, *by_s.values()), now_s + 0.001)
        plan = attention.plan(now_s)
        by_s |= {restated.camera_id: restated.by_s for restated in plan.restated}
        assert min(by_s.values()) >= now_s
        assert plan.visit == ()
    assert attention.missed == 0


def test_what_is_remembered_stays_in_proportion():
    """Old promises of a camera that is visited again and again are forgotten, although another's earlier one stands."""
    lines = Round(lambda recorder: True)
    waits, comes = Turn(Watched("a"), 1, 0.0, 4.0), Turn(Watched("b"), 2, 0.0, 4.0)
    waits.by_s = 50.0
    lines.wait(waits, 50.0)
    for second in range(1000):
        comes.by_s = 100.0 + second
        lines.wait(comes, 100.0 + second)
    lines.tidy(2)
    assert (len(lines._promises), len(lines._waiting)) == (2, 2)
    assert lines.late(60.0, 0.0) is waits


def test_a_day_of_suspicion_leaves_no_trail():
    """A camera that comes back every few seconds for a day costs no more memory than any other."""
    attention = Attention([Watched("a"), Watched("b")], Budget(1))
    now_s = 0.0
    for _ in range(9000):
        plan = attention.plan(now_s)
        for visit in plan.visit:
            attention.visited(visit.camera_id, now_s + 2, Outcome.SUSPICIOUS, 2.0)
        now_s += 10
    lines = attention._round
    assert len(lines._promises) + len(lines._waiting) + len(lines._visited) + len(lines._due) < 400


@pytest.mark.parametrize(
    "make",
    [
        lambda: Budget(0),
        lambda: Budget(1, looks_per_s=0),
        lambda: Budget(1, sessions={"nvr": 0}),
        lambda: Policy(continuous_share=0.8),
        lambda: Attention([Watched("a"), Watched("a")], Budget(1)),
        lambda: Attention([Watched("a", mbit_per_s=8)], Budget(1, mbit_per_s=4)),
    ],
)
def test_what_would_visit_nobody_is_refused(make):
    """No slots, no rate, a camera twice, a stream larger than all that may come: refused when it is said."""
    with pytest.raises(ValueError, match=r"budget|session|share|watched|Mbit"):
        make()


def test_who_can_have_no_place_any_more_does_not_push_others_out():
    """The budget shrinks under a waiting camera's stream: those that are watched without a break keep their places."""
    cameras = [Watched(f"small-{n}", mbit_per_s=1.0) for n in range(4)] + [Watched("large", mbit_per_s=8.0)]
    attention = Attention(cameras, Budget(8, mbit_per_s=40), Policy(turn_s=50))
    for visit in attention.plan(0.0).visit:
        suspicious = visit.camera_id in {"small-0", "small-1"}
        attention.visited(visit.camera_id, 2.0, Outcome.SUSPICIOUS if suspicious else Outcome.QUIET, 2.0)
    assert attention.plan(2.0).continuous == {"small-0", "small-1"}
    attention.promote("large", 3.0)
    attention.spend(Budget(8, mbit_per_s=12), 4.0)
    assert attention.plan(500.0).continuous == {"small-0", "small-1"}


def test_a_smaller_budget_that_a_camera_does_not_fit_changes_nothing():
    """The old budget goes on."""
    attention = Attention([Watched("a", mbit_per_s=8)], Budget(1, mbit_per_s=10))
    with pytest.raises(ValueError, match="Mbit"):
        attention.spend(Budget(1, mbit_per_s=4), 1.0)
    assert len(attention.plan(1.0).visit) == 1
