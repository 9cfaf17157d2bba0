# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras that take turns: what is promised is kept, what is spent is bounded, and nobody is forgotten."""

import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ingest.attention import Attention
from ingest.budget import Budget, Policy
from ingest.turns import Outcome, Watched
from tests.ingest.attention_kit import INFINITE, Fleet, fleet, good, stalled

# A failing example is not shrunk: each costs seconds.
SLOW = settings(max_examples=20, deadline=None, derandomize=True, phases=(Phase.explicit, Phase.generate))

budgets = st.builds(
    Budget,
    slots=st.integers(1, 12),
    visits_per_s=st.none() | st.floats(0.2, 5),
    key_frames_per_s=st.none() | st.floats(0.5, 10),
    looks_per_s=st.none() | st.floats(0.5, 10),
    mbit_per_s=st.none() | st.floats(4, 60),
)


def moody(rng, visit, now_s):
    """A visit of any outcome, rarely a failed one."""
    outcome = rng.choices(list(Outcome), [20, 5, 3, 1, 0.2])[0]
    return outcome, visit.within_s if outcome is Outcome.FAILED else good(rng, visit, now_s)[1]


@SLOW
@given(count=st.integers(1, 60), budget=budgets, seed=st.integers(0, 999))
def test_promises_are_kept_and_the_budget_too(count, budget, seed):
    """Whatever budget and cameras: each is visited by when it was promised, and nothing is ever overspent."""
    rng = random.Random(seed)
    cameras = [
        Watched(item.camera_id, item.risk, item.place, "", rng.choice([1.0, 2.0, 4.0]))
        for item in fleet(count, seed)
    ]
    run = Fleet(cameras, budget, seed=seed, answer=moody, demote_after_s=45)
    run.run(1500)
    run.check_rates()


def test_a_round_keeps_its_bound_although_a_tenth_is_lost():
    """A tenth of 400 cameras goes silent at once: no promise has to be changed, and none is broken."""
    run = Fleet(fleet(200), Budget(6), Policy(usual_visit_s=3.5))
    run.run(1800)
    run.answers = {item.camera_id: stalled for item in run.watched[::10]}
    run.run(7200)
    assert run.restated == []
    assert all(run.visits[item.camera_id] >= 3 for item in run.watched)


def test_a_day_with_its_hours_changes_no_promise():
    """Weights rise and fall with the hour while a tenth of the cameras is lost: nothing that was promised is restated."""
    run = Fleet(fleet(40), Budget(1), Policy(usual_visit_s=3.5))
    run.run(1800)
    run.answers = {item.camera_id: stalled for item in run.watched[::10]}
    run.run(3600 * 24)
    assert run.restated == []


def test_what_cannot_be_kept_is_restated_in_time():
    """All cameras go silent at once: bounds grow before they are broken, and shrink again once cameras are back."""
    run = Fleet(fleet(60), Budget(2))
    run.run(3600)
    before_s = run.attention.bound_s("cam-0")
    run.answer = stalled
    run.run(3600 * 3)
    assert run.restated
    assert run.attention.bound_s("cam-0") > before_s
    run.answer = good
    run.run(3600 * 8)
    assert run.attention.bound_s("cam-0") < 1.5 * before_s


def test_the_same_events_give_the_same_plans():
    """Two schedulers that are told the same plan the same."""
    logs = []
    for _ in range(2):
        run = Fleet(fleet(80), Budget(6), answer=moody, demote_after_s=30)
        run.run(2000)
        logs.append(run.log)
    assert logs[0] == logs[1]


def test_no_recorder_has_more_sessions_than_it_allows():
    """Cameras of a recorder with two sessions wait for each other; all others are visited meanwhile."""
    behind = [Watched(f"nvr-{n}", recorder="nvr") for n in range(30)]
    run = Fleet([*fleet(60), *behind], Budget(10, sessions={"nvr": 2}), answer=moody, demote_after_s=60)
    run.run(7200)
    assert run.attention.bound_s("nvr-0") > run.attention.bound_s("cam-0")
    assert min(run.visits[item.camera_id] for item in behind) >= 10
    assert len(run.log) > 7200


@SLOW
@given(ops=st.lists(st.tuples(st.sampled_from("arcpds"), st.integers(0, 40), st.floats(0, 200)), max_size=40))
def test_cameras_come_and_go_while_others_take_turns(ops):
    """Adding, removing, changing, promoting and another budget at any moment break no promise to anybody else."""
    run = Fleet(fleet(20), Budget(4, mbit_per_s=20, sessions={"nvr": 1}), answer=moody, demote_after_s=90)
    for op, number, pause_s in ops:
        camera_id = f"cam-{number}"
        known = camera_id in run.cameras
        if op == "a" and not known:
            run.add(Watched(camera_id, recorder=("nvr", "")[number % 2], mbit_per_s=2.0))
        elif op == "r" and known:
            run.remove(camera_id)
        elif op == "c" and known and camera_id not in run.running:
            run.cameras[camera_id] = Watched(camera_id, risk=3.0, place="market", mbit_per_s=1.0)
            run.attention.change(run.cameras[camera_id], run.now_s)
        elif op == "p" and known:
            run.attention.promote(camera_id, run.now_s)
        elif op == "d" and known:
            run.demote(camera_id)
        elif op == "s" and not run.running:
            run.budget = Budget(2 + number % 6, mbit_per_s=20, sessions={"nvr": 1 + number % 2})
            run.attention.spend(run.budget, run.now_s)
        run.run(run.now_s + pause_s)
    run.run(run.now_s + 1500)
    assert all(run.visits[camera_id] for camera_id in run.cameras if camera_id not in run.continuous)


def test_risk_decides_how_often():
    """A camera of four times the risk is visited about four times as often, and by day a market more than a yard."""
    cameras = [Watched(f"usual-{n}") for n in range(60)] + [Watched("risky", risk=4.0)]
    cameras += [Watched("market", place="market"), Watched("yard", place="yard")]
    run = Fleet(cameras, Budget(2))
    run.run(3600 * 7)
    before = dict(run.visits)
    run.run(3600 * 19)
    visits = {name: run.visits[name] - before[name] for name in before}
    assert 3 < visits["risky"] / visits["usual-7"] < 5
    assert 1.2 < visits["market"] / visits["yard"] < 1.8


def test_a_suspicious_camera_is_watched_without_a_break():
    """It gets a place at once, is promised no visits meanwhile, and takes turns again when it is quiet."""
    attention = Attention(fleet(20), Budget(4))
    camera_id = attention.plan(0.0).visit[0].camera_id
    attention.visited(camera_id, 3.0, Outcome.SUSPICIOUS, 3.0)
    plan = attention.plan(3.0)
    assert plan.continuous == {camera_id}
    assert (camera_id, INFINITE) in [(promise.camera_id, promise.by_s) for promise in plan.promised]
    assert attention.by_s(camera_id) == INFINITE
    attention.demote(camera_id, 60.0)
    plan = attention.plan(60.0)
    assert plan.continuous == frozenset()
    assert 60 < attention.by_s(camera_id) < INFINITE


def test_promotion_is_bounded_and_everybody_gets_a_turn():
    """All 40 cameras are suspicious all the time: a quarter of the slots watches, and in time each of them is watched."""

    def suspicious(rng, visit, now_s):
        return Outcome.SUSPICIOUS, 3.0

    run = Fleet(fleet(40), Budget(8), Policy(turn_s=100), answer=suspicious)
    watched = set()
    for _ in range(600):
        run.run(run.now_s + 20)
        watched |= set(run.continuous)
    assert run.most_continuous == 2
    assert len(watched) == 40


def test_open_incidents_come_before_suspicion():
    """The one place goes to the camera with an incident, although others were suspicious before it."""
    attention = Attention(fleet(10), Budget(3))
    visits = attention.plan(0.0).visit
    attention.promote("cam-9", 1.0)
    plan = attention.plan(1.0)
    assert plan.continuous == frozenset()  # every slot is taken by a visit
    for visit in visits[:2]:
        attention.visited(visit.camera_id, 2.0, Outcome.SUSPICIOUS, 2.0)
    assert attention.plan(2.0).continuous == {"cam-9"}


def test_an_incident_keeps_its_place_from_the_suspicious():
    """Its turn is over only for another incident."""
    attention = Attention(fleet(10), Budget(3), Policy(turn_s=100))
    attention.promote("cam-9", 0.0)
    assert attention.plan(0.0).continuous == {"cam-9"}
    visit = attention.plan(1.0).visit or attention.plan(11.0).visit
    run_id = visit[0].camera_id if visit else "cam-1"
    attention.visited(run_id, 12.0, Outcome.SUSPICIOUS, 3.0)
    assert attention.plan(500.0).continuous == {"cam-9"}
    attention.promote("cam-8", 501.0)
    for moment in (501.0, 502.0):
        for other in [f"cam-{n}" for n in range(10)]:
            attention.visited(other, moment, Outcome.QUIET, 3.0)
    assert attention.plan(503.0).continuous == {"cam-8"}


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"risk": 3.7}, True),
        ({"place": "yard"}, True),
        ({"mbit_per_s": 2.0}, False),
        ({"recorder": "nvr"}, False),
    ],
)
def test_a_camera_with_an_incident_is_watched_on_whatever_is_said_of_it(said, kept):
    """An operator confirms what is on it, and its weight grows: it keeps its place, or gets it back at once."""
    attention = Attention(fleet(10), Budget(8))
    attention.promote("cam-9", 0.0)
    assert attention.plan(0.0).continuous == {"cam-9"}
    attention.change(replace(Watched("cam-9"), **said), 900.0)
    assert (attention.by_s("cam-9") == INFINITE) is kept
    assert attention.plan(900.0).continuous == {"cam-9"}
    assert attention.by_s("cam-9") == INFINITE


@pytest.mark.parametrize(
    ("urgent", "stays", "back"), [(False, "cam-2", {"cam-2"}), (True, "cam-1", {"cam-1", "cam-2"})]
)
def test_who_leaves_when_the_share_shrinks(urgent, stays, back):
    """A larger stream is added: who is merely suspicious leaves before an incident does, and an incident comes back."""
    attention = Attention(fleet(10), Budget(12, mbit_per_s=40))
    attention.promote("cam-1", 0.0, urgent=urgent)
    attention.plan(0.0)
    attention.visited("cam-2", 1.0, Outcome.SEEN, 1.0)
    attention.promote("cam-2", 1.0)
    assert attention.plan(1.0).continuous == {"cam-1", "cam-2"}
    attention.add(Watched("large", mbit_per_s=36.0), 2.0)
    assert attention.plan(2.0).continuous == {stays}
    attention.remove("large", 3.0)
    assert attention.plan(3.0).continuous == back


@pytest.mark.parametrize(
    ("before", "urgent", "watched"),
    [(True, True, set()), (True, False, set()), (False, False, {"a"}), (False, True, {"a"})],
)
def test_a_quiet_visit_ends_what_was_suspected_before_it(before, urgent, watched):
    """Whoever waits for a place and is quiet meanwhile needs none; what is found out during the visit is newer."""
    attention = Attention([Watched("a"), Watched("b")], Budget(2))
    attention.promote("b", 0.0)
    attention.plan(0.0)
    attention.visited("a", 3.0, Outcome.SUSPICIOUS, 3.0)
    if before:
        attention.promote("a", 4.0, urgent=urgent)
    assert [visit.camera_id for visit in attention.plan(20.0).visit] == ["a"]
    if not before:
        attention.promote("a", 22.0, urgent=urgent)
    attention.visited("a", 23.0, Outcome.QUIET, 3.0)
    attention.demote("b", 24.0)
    assert attention.plan(24.0).continuous == watched


def test_a_camera_without_a_place_is_visited_sooner():
    """Where nobody may be watched without a break, a suspicious camera still comes back earlier than others."""

    def suspicious(rng, visit, now_s):
        return Outcome.SUSPICIOUS, 3.0

    run = Fleet(fleet(40), Budget(2), answers={"cam-3": suspicious})
    run.attention.promote("cam-0", 0.0)  # the only place is taken for good
    run.run(7200)
    others = [
        run.visits[f"cam-{n}"]
        for n in range(1, 40)
        if run.cameras[f"cam-{n}"].risk == run.cameras["cam-3"].risk
    ]
    assert run.visits["cam-3"] == max(others)
    assert run.visits["cam-3"] > 1.5 * sorted(others)[len(others) // 2]


def test_suspicion_after_a_visit_brings_the_next_one_forward():
    """The network's answer comes when the visit is over: the camera need not wait for its usual time."""
    run = Fleet([Watched(f"cam-{n}") for n in range(100)], Budget(1))
    run.run(3600)
    asked_s, camera_id = run.now_s, run.log[-2][1]
    run.attention.promote(camera_id, asked_s, urgent=False)
    run.run(asked_s + 600)
    again_s = min(at for at, who in run.log if who == camera_id and at > asked_s)
    assert again_s - asked_s < 0.6 * run.attention.usual_s(camera_id)


def test_lost_cameras_cost_little_and_are_tried_within_their_bound():
    """Half of the cameras do not answer: each still gets its tries, and they take little longer than the others' visits."""
    run = Fleet([Watched(f"cam-{n}") for n in range(60)], Budget(4))
    run.answers = {f"cam-{n}": stalled for n in range(0, 60, 2)}
    run.run(3600 * 6)
    lost_s = sum(run.busy_s[f"cam-{n}"] for n in range(0, 60, 2))
    good_s = sum(run.busy_s[f"cam-{n}"] for n in range(1, 60, 2))
    assert lost_s < good_s
    assert min(run.visits.values()) >= 3600 * 6 / run.attention.bound_s("cam-0") - 1


def test_a_slow_camera_that_is_back_is_seen_again():
    """A camera whose visits take ten seconds failed for a while; its short tries leave enough time to succeed."""

    def slow(rng, visit, now_s):
        back = not 600 < now_s < 3000
        return (Outcome.QUIET, 10.0) if back and visit.within_s >= 10 else (Outcome.FAILED, visit.within_s)

    run = Fleet(fleet(20), Budget(2), answers={"cam-5": slow})
    run.run(3600)
    taken = run.attention.turns_taken("cam-5", run.now_s)
    assert taken.failed >= 3
    run.attention.begin_afresh(run.now_s)
    run.run(7200)
    assert run.attention.turns_taken("cam-5", run.now_s).failed == 0


def test_a_camera_that_refuses_is_asked_rarely():
    """User or password are refused: it is asked again after five minutes, and says so in its bound."""
    refusing = {"cam-1": lambda rng, visit, now_s: (Outcome.REFUSED, 0.2)}
    run = Fleet(fleet(5), Budget(2), answers=refusing)
    run.run(3600)
    times = [at for at, camera_id in run.log if camera_id == "cam-1"]
    assert len(times) >= 10
    assert min(after - before for before, after in pairwise(times)) >= 300
    assert run.attention.bound_s("cam-1") >= 300


def test_no_camera_is_visited_without_a_rest():
    """With time to spare a camera is left alone for ten seconds after each visit."""
    run = Fleet(fleet(3), Budget(3))
    run.run(600)
    for camera_id in run.cameras:
        times = [at for at, who in run.log if who == camera_id]
        assert min(after - before for before, after in pairwise(times)) >= 10
