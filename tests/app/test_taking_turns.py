# SPDX-License-Identifier: AGPL-3.0-or-later
"""More cameras than connections, on real streams: each is visited in time, and a suspicious one is stayed with."""

import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from events.alerts import Activity
from gridwatch.app import taking_turns
from gridwatch.app.settings import AttentionSettings
from gridwatch.core.camera import Camera, Fault, Note, SightState, Watch
from gridwatch.core.redact import SecretUrl
from ingest.admission import Way
from ingest.budget import Policy
from ingest.turns import Outcome, Visit
from ingest.visits import Visits
from tests.app.watching import LateClock, Machine, Street, clip, until, watching

SEEING, BLIND = SightState.SEEING, SightState.BLIND
BRISK = Policy(rest_s=0.1, usual_visit_s=0.3, within_s=4.0, lost_within_s=1.0)
NAMES = "abcdef"


@pytest.fixture(scope="module")
def street(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    plain, marked = clip(folder / "plain.mp4", gop=3), clip(folder / "marked.mp4", gop=3, marked=True)
    with Street(dict.fromkeys(NAMES, plain) | {"fire": marked}) as street:
        yield street


@pytest.fixture
def cameras(street):
    """Cameras behind one recorder with three sessions: so few that nobody is watched without a break for good."""
    return [street.camera(name, recorder="nvr") for name in NAMES]


def turns(tmp_path, cameras, connections=3, **options):
    attention = AttentionSettings(connections=connections)
    ingest = {"sessions": {"nvr": connections}}
    return watching(tmp_path, cameras, attention=attention, policy=BRISK, ingest=ingest, **options)


def taken(machine, name):
    return machine.turns.visits.turns_taken(name)


def hurry(clock, by_s=0.5):
    """Let time pass faster, by less than any look may be late."""
    clock.late_s += by_s
    time.sleep(0.1)
    return True


def noting(monkeypatch, visits):
    """Return what `visits` is asked to promote from now on, and whether urgently."""
    asked, promote = [], visits.promote

    def note(camera_id, *, urgent):
        asked.append((camera_id, urgent))
        promote(camera_id, urgent=urgent)

    monkeypatch.setattr(visits, "promote", note)
    return asked


def visited(machine, names=NAMES, times=1):
    """Return whether each of these cameras was visited so often at least."""
    return all(taken(machine, name).visits >= times for name in names)


def test_each_camera_is_visited_within_its_bound_and_sees_between_visits(tmp_path, cameras, street):
    """Never more are connected than may be, nobody is forgotten, and who waits for its turn is not blind."""
    with turns(tmp_path, cameras) as machine:
        assert machine.turns.held == frozenset()
        until(lambda: all(machine.state(name) is SEEING for name in NAMES))
        states, most = set(), 0
        end = time.monotonic() + 30
        while not visited(machine, times=3):
            assert time.monotonic() < end
            states |= {(status.state, status.fault) for status in machine.shard.statuses()}
            most = max(most, sum(street.viewers().values()))
        assert states == {(SEEING, None)}
        assert 1 <= most <= 3
        assert machine.turns.visits._attention.missed == 0
        for name in NAMES:
            assert taken(machine, name).longest_s <= taken(machine, name).bound_s
            assert taken(machine, name).failed == 0
            assert machine.feed(name).opened == 0


def outcomes(machine):
    """Return how many visits brought what."""
    return machine.turns.visits.now(()).outcomes


def test_who_waits_for_its_host_is_not_to_blame(tmp_path, cameras, street):
    """Longer than a visit may take, and longer than one may hang: none has failed, and each camera is seen."""
    clock = LateClock()
    attention = AttentionSettings(connections=3)
    ingest = {"sessions": {"nvr": 3}, "connects_per_host": 1}
    with watching(tmp_path, [], attention=attention, policy=BRISK, ingest=ingest, clock=clock) as machine:
        admission, host = machine.wiring.admission, street.url("a").host
        with admission.opening(Way(host, ""), threading.Event()):
            machine.shard.set_cameras(cameras)
            until(lambda: len(admission._hosts[host].waiting) == 3)
            clock.late_s += 100
            with machine.turns.visits._lock:
                machine.turns.visits._give_up_hung()
        until(lambda: visited(machine))
        assert [taken(machine, name).failed for name in NAMES] == [0] * len(NAMES)
        assert machine.turns.visits.abandoned == 0
        until(lambda: all(machine.state(name) is SEEING for name in NAMES))


def test_a_visit_is_quiet_once_its_look_was_answered(tmp_path, cameras):
    """Before that nothing is known of what it brought."""
    with turns(tmp_path, cameras) as machine:
        until(lambda: outcomes(machine)[Outcome.QUIET] >= 3)
        machine.network.hold.clear()
        until(lambda: machine.network.inside)
        quiet, seen = outcomes(machine)[Outcome.QUIET], outcomes(machine)[Outcome.SEEN]
        until(lambda: outcomes(machine)[Outcome.SEEN] >= seen + 6)
        assert outcomes(machine)[Outcome.QUIET] <= quiet + 4  # those that were under way


def test_suspicion_ends_when_a_later_look_shows_nothing(tmp_path, cameras):
    """No visit has to come first: the answers of the last one may have come after it was over."""
    with turns(tmp_path, cameras) as machine:
        until(lambda: visited(machine))
        visits = machine.turns.visits
        visits.stop()
        assert visits.join(10)
        machine.turns.suspect(machine.shard.find("a"))
        waits = visits._attention._turns["a"]
        until(lambda: not waits.eager)


def test_confirming_an_incident_does_not_end_the_watch_of_its_camera(tmp_path, cameras, street):
    """Its camera weighs more from now on, and is read on over the same connection."""
    with turns(tmp_path, [*cameras, street.camera("fire", recorder="nvr")]) as machine:
        machine.network.burning = True
        until(lambda: machine.feed("fire").opened == 1)
        visits, bound_s = machine.turns.visits, taken(machine, "fire").bound_s
        machine.shard.weigh({"fire": 1})
        assert taken(machine, "fire").bound_s < bound_s
        with visits._lock:
            assert visits._attention.by_s("fire") == float("inf")
        done = visits.done
        until(lambda: visits.done > done + 3)
        assert machine.feed("fire").opened == 1


def test_cameras_that_stall_together_are_waited_for_once(tmp_path, cameras, monkeypatch):
    """Nobody is visited meanwhile, so it may take a second for all of them, not for each."""
    clock, waited = LateClock(), []
    with turns(tmp_path, cameras, clock=clock) as machine:

        def stall(timeout_s):
            waited.append(timeout_s)
            clock.late_s += timeout_s

        with monkeypatch.context() as patched:
            for name in NAMES:
                patched.setattr(machine.feed(name), "join", stall)
            machine.turns.demote(list(NAMES))
    assert len(waited) == len(NAMES)
    assert sum(waited) < taking_turns.JOIN_S + 0.1


def test_past_its_bound_a_camera_is_blind_because_its_turn_has_not_come(tmp_path, cameras):
    """Nobody may take a picture of an hour ago for a camera that sees."""
    clock = LateClock()
    with turns(tmp_path, cameras, clock=clock) as machine:
        until(lambda: all(machine.state(name) is SEEING for name in NAMES))
        machine.turns.visits.stop()
        assert machine.turns.visits.join(10)
        bound_s = max(taken(machine, name).bound_s for name in NAMES)
        clock.late_s += bound_s + 1
        told = {(status.state, status.fault) for status in machine.shard.statuses()}
        assert told == {(BLIND, Fault.NOT_VISITED)}


def test_a_suspicious_camera_is_watched_without_a_break_and_takes_turns_again_when_it_is_calm(
    tmp_path, cameras, street, monkeypatch
):
    """One connection lasts as long as there is something, the incident is recorded, and the others are visited on."""
    monkeypatch.setattr(taking_turns, "CALM_S", 1.0)
    fire, clock = street.camera("fire", recorder="nvr"), LateClock()
    with turns(tmp_path, [*cameras, fire], clock=clock) as machine:
        until(lambda: visited(machine, ["fire"]))
        asked = noting(monkeypatch, machine.turns.visits)
        parts = machine.shard.find("fire")
        machine.network.burning = True
        until(lambda: parts.reads)
        until(lambda: hurry(clock) and machine.alerts())
        until(lambda: ("fire", True) in asked)  # an open incident comes before suspicion
        assert machine.feed("fire").opened == 1
        until(lambda: machine.state("fire") is SEEING)  # looks may go unanswered while time is hurried
        before = {name: taken(machine, name).visits for name in NAMES}
        until(
            lambda: (
                hurry(clock, 0.15) and sum(taken(machine, name).visits > before[name] for name in NAMES) > 3
            )
        )
        assert parts.reads
        machine.network.burning = False
        until(lambda: hurry(clock) and not parts.reads)
        assert not parts.claims
        until(lambda: machine.alerts()[0].activity is Activity.ENDED)
        visits = taken(machine, "fire").visits
        until(lambda: hurry(clock, 0.15) and taken(machine, "fire").visits > visits)
        assert machine.feed("fire").opened == 1
        assert machine.feed("fire").join(5)


def test_a_lost_camera_costs_the_others_nothing_and_says_what_is_wrong(tmp_path, cameras, street):
    """It is tried again within its bound, and sees again once it is back."""
    clock = LateClock()
    with turns(tmp_path, cameras, clock=clock) as machine:
        until(lambda: visited(machine))
        street.fault("not-found", "a")
        try:
            # a visit that was under way is broken off, and so may be the one that was just connecting
            failed = taken(machine, "a").failed
            until(lambda: taken(machine, "a").failed > failed + 2)
            assert visited(machine, NAMES[1:])
            until(lambda: all(machine.state(name) is SEEING for name in NAMES[1:]))
            clock.late_s += taken(machine, "a").bound_s + 1  # its last picture is older than was promised
            status = machine.shard.statuses()[0]
            assert (status.state, status.fault) == (BLIND, Fault.NOT_FOUND)
        finally:
            street.fault("not-found", "a", on=False)
        until(lambda: machine.state("a") is SEEING)


def test_a_camera_that_is_off_is_never_visited(tmp_path, cameras, street):
    """Not as long as it is off, and from then on when it is switched on."""
    off = replace(cameras[0], watch=Watch.OFF)
    with turns(tmp_path, [off, *cameras[1:]]) as machine:
        until(lambda: visited(machine, NAMES[1:]))
        assert street.viewers()["a"] == 0
        assert machine.state("a") is SightState.OFF
        with pytest.raises(KeyError):
            taken(machine, "a")
        machine.shard.set_cameras(cameras)
        until(lambda: visited(machine, "a"))
        until(lambda: machine.state("a") is SEEING)


def test_cameras_come_and_go_while_others_take_turns(tmp_path, cameras, street):
    """A new one is visited, one that is gone is not, and the turns of the others are counted on."""
    with turns(tmp_path, cameras[:5]) as machine:
        until(lambda: visited(machine, NAMES[:5]))
        counted = {name: taken(machine, name).visits for name in NAMES[1:4]}
        gone = machine.shard.find("e")
        machine.shard.set_cameras([replace(cameras[0], name="A"), *cameras[1:4], cameras[5]])
        until(lambda: machine.state("f") is SEEING and machine.state("a") is SEEING)
        assert all(taken(machine, name).visits >= count for name, count in counted.items())
        until(lambda: street.viewers()["e"] == 0)
        decoded = gone.pipeline.intake.decoded
        until(lambda: visited(machine, "af", times=2))
        assert gone.pipeline.intake.decoded == decoded
        assert street.viewers()["e"] == 0


def test_a_camera_that_is_removed_while_it_is_watched_without_a_break_is_left(
    tmp_path, cameras, street, monkeypatch
):
    """Its place goes to others; when it comes back it takes turns like any other, as soon as its picture is calm."""
    monkeypatch.setattr(taking_turns, "CALM_S", 1.0)
    fire, clock = street.camera("fire", recorder="nvr"), LateClock()
    with turns(tmp_path, [*cameras, fire], clock=clock) as machine:
        machine.network.burning = True
        until(lambda: machine.shard.find("fire").reads)
        machine.shard.set_cameras(cameras)
        until(lambda: street.viewers()["fire"] == 0)
        machine.network.burning = False
        machine.shard.set_cameras([*cameras, fire])
        until(lambda: visited(machine, ["fire"]))
        until(lambda: machine.state("fire") is SEEING)
        until(lambda: hurry(clock) and not machine.shard.find("fire").reads)


def test_where_the_budget_suffices_nobody_takes_turns(tmp_path, street):
    """All are connected all the time; with one camera too many they begin to take turns, and end it when it goes."""
    cameras = [street.camera(name, recorder="nvr") for name in "abcd"]
    with turns(tmp_path, cameras[:3]) as machine:
        until(lambda: all(machine.state(name) is SEEING for name in "abc"))
        assert machine.turns.held == set("abc")
        assert machine.turns.visits.done == 0
        kept = machine.feed("a")
        machine.shard.set_cameras(cameras)
        assert machine.turns.held == set()
        until(lambda: visited(machine, "abcd"))
        assert not machine.shard.find("a").reads
        machine.shard.set_cameras(cameras[:3])
        until(lambda: street.viewers() == dict.fromkeys("abc", 1) | dict.fromkeys([*"def", "fire"], 0))
        assert machine.feed("a") is kept
        until(lambda: all(machine.state(name) is SEEING for name in "abc"))


def test_what_is_not_bounded_lets_nobody_take_turns(tmp_path):
    """A bound on looks alone is no bound on connections: a hundred cameras that it suffices for are all held."""
    cameras = [Camera(f"c{n}", "", SecretUrl(f"rtsp://192.0.2.1/{n}")) for n in range(100)]
    for looks_per_s, held in ((60.0, 100), (20.0, 0)):
        machine = Machine(tmp_path, attention=AttentionSettings(looks_per_s=looks_per_s))
        machine.shard.set_cameras(cameras)
        assert (len(machine.turns.held) == 100) is (held == 100)
        machine.store.close()


def test_a_shard_whose_visits_are_all_stuck_is_replaced(tmp_path, cameras, monkeypatch):
    """Nobody would be visited any more: the parent hears nothing, and starts another process."""
    beats = []
    with turns(tmp_path, cameras) as machine:
        monkeypatch.setattr(machine.shard, "_beat", lambda: beats.append(1))
        machine.shard._live()
        assert beats
        monkeypatch.setattr(Visits, "stuck", 3)
        until(lambda: machine.turns.stuck)
        heard = len(beats)
        machine.shard._live()
        assert len(beats) == heard


def test_the_packets_of_a_visit_are_let_go_of_after_a_while(tmp_path, cameras):
    """Thousands of cameras that nobody is connected to must not hold seconds of video each."""
    clock = LateClock()
    with turns(tmp_path, cameras, clock=clock) as machine:
        until(lambda: visited(machine))
        rings = [machine.shard.find(name).pipeline.intake.ring for name in NAMES]
        machine.turns.visits.stop()
        assert machine.turns.visits.join(10)
        assert all(ring.bytes for ring in rings)
        clock.late_s += taking_turns.KEEP_S + 1
        until(lambda: not any(ring.bytes for ring in rings))


def test_the_test_camera_is_watched_all_the_time_whatever_the_budget(tmp_path, cameras, street):
    """Its exercises would not arrive in time otherwise; it takes nothing of what the others have."""
    test_camera = street.camera("fire", recorder="nvr")
    with turns(tmp_path, [*cameras, test_camera], always=frozenset({"fire"})) as machine:
        assert machine.turns.held == {"fire"}
        until(lambda: visited(machine))
        assert machine.shard.find("fire").reads
        assert machine.feed("fire").opened == 1
        with pytest.raises(KeyError):
            taken(machine, "fire")


def test_where_incidents_were_confirmed_cameras_are_visited_more_often(tmp_path, cameras):
    """What is stated follows at once, and who is visited already goes on being visited."""
    with turns(tmp_path, cameras) as machine:
        until(lambda: visited(machine))
        assert taken(machine, "a").bound_s == taken(machine, "b").bound_s
        visits = taken(machine, "a").visits
        machine.shard.weigh({"a": 7, "unknown": 3})
        assert taken(machine, "a").bound_s < taken(machine, "b").bound_s
        assert taken(machine, "a").visits >= visits
        until(lambda: visited(machine, times=2))


def test_who_waits_for_its_first_turn_says_so_until_that_is_overdue(tmp_path):
    """After a start most cameras were not tried yet: that is no line that is dead."""
    cameras = [Camera(f"c{n}", "", SecretUrl(f"rtsp://192.0.2.1/{n}"), recorder="nvr") for n in range(30)]
    clock = LateClock()
    options = {"attention": AttentionSettings(connections=3), "ingest": {"sessions": {"nvr": 3}}}
    machine = Machine(tmp_path, policy=BRISK, clock=clock, **options)
    machine.shard.set_cameras(cameras)
    machine.turns.visits._step()  # its threads do not run: nobody visits
    first = {(one.state, one.fault, one.waits) for one in machine.shard.statuses()}
    assert first == {(BLIND, Fault.NOT_VISITED, True)}
    clock.late_s += 1 + max(taken(machine, one.camera_id).bound_s for one in cameras)
    later = {(one.fault, one.reason, one.waits) for one in machine.shard.statuses()}
    assert later == {(Fault.NOT_VISITED, "its turn has not come", False)}
    machine.store.close()


def test_a_camera_that_reports_no_clock_any_more_loses_its_note_over_its_visits(tmp_path, monkeypatch):
    """A minute of visits without a report: it was started anew, and nothing is known of its clock."""
    machine = Machine(tmp_path, attention=AttentionSettings(connections=1), policy=BRISK)
    machine.shard.set_cameras([Camera(f"c{n}", "", SecretUrl(f"rtsp://192.0.2.1/{n}")) for n in range(30)])
    sight = machine.shard.find("c1").pipeline.intake.sight
    brought = SimpleNamespace(opened_s=1.0, took_s=4.0, began_mono_s=0.0)
    monkeypatch.setattr(machine.turns, "_grab", lambda *_: brought)
    sight.clock(300.0)
    for _ in range(19):
        machine.turns.visit(Visit("c1", 5.0, 100.0))
    assert sight.status().notes == (Note.CLOCK_WRONG,)
    machine.turns.visit(Visit("c1", 5.0, 100.0))
    assert sight.status().notes == ()
    machine.store.close()
