# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whose turn it is: the rules of the inference service, without threads, on a simulated time."""

import heapq
import itertools
import random
from collections import Counter
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from gridwatch.core.detections import Part
from gridwatch.core.look import Look, LookReason
from models.service.waiting import Request, Rules, WaitingLooks

AT = datetime(2026, 5, 1, tzinfo=UTC)
FIRE = frozenset({Part.FIRE})


def request(camera, at_s=0.0, *, now_s=None, urgent=False, group="fire", rules=None):
    look = Look(camera, LookReason.PATROL, at_s, AT, 0.0, None)
    expires_s = (rules or Rules()).expires_mono_s(look, at_s if now_s is None else now_s)
    return Request(look, FIRE, group, urgent, expires_s)


def cameras(requests):
    return [one.look.camera_id for one in requests]


def put_all(box, names, now_s=0.0, **how):
    for name in names:
        box.put(request(name, now_s, **how), now_s)


def take(box, now_s=0.0, **how):
    """Take a turn and deal with it at once."""
    turn = box.take(now_s, **how)
    for one in turn.fresh + turn.stale:
        box.done(one.look.camera_id, now_s)
    return cameras(turn.fresh)


def test_the_newest_look_of_a_camera_wins_and_keeps_its_place():
    """A camera that sends much replaces its own look, and neither gains nor loses its place in line by it."""
    box = WaitingLooks()
    put_all(box, "ab")
    assert box.put(request("a", 1.0), 1.0) is True
    turn = box.take(1.0)
    assert (cameras(turn.fresh), turn.fresh[0].look.at_mono_s) == (["a"], 1.0)
    assert (take(box, 1.0), box.replaced, len(box)) == (["b"], 1, 0)


def test_a_camera_is_never_in_work_twice():
    """Its next look waits until the one in work is dealt with, and is taken then."""
    box = WaitingLooks()
    put_all(box, "a")
    assert cameras(box.take(0.0).fresh) == ["a"]
    put_all(box, "a", 0.1)
    assert box.take(0.1).fresh == ()
    assert box.next_due_s(1) is None
    assert not box.is_idle
    box.done("a", 0.2)
    assert take(box, 0.2) == ["a"]
    assert box.is_idle


def test_who_was_computed_least_recently_comes_first():
    """A camera that always has a fresh look takes what the others leave, and delays none of them."""
    box = WaitingLooks()
    put_all(box, ["bursty"])
    assert take(box) == ["bursty"]
    put_all(box, ["bursty"], 0.1)
    put_all(box, "ab", 0.2)
    assert [take(box, 0.3) for _ in range(3)] == [["a"], ["b"], ["bursty"]]


def test_a_look_that_cannot_be_answered_in_time_is_shed_and_its_camera_stays_first():
    """Older than the budget when its turn comes, or by the time it would be computed: handed out as stale, its place kept."""
    box = WaitingLooks(Rules(staleness_s=5.0))
    put_all(box, "a", 0.0)
    put_all(box, "b", 0.1)
    turn = box.take(5.05)
    assert (cameras(turn.stale), cameras(turn.fresh)) == (["a"], ["b"])
    for camera in "ab":
        box.done(camera, 5.0)
    put_all(box, "ba", 6.0)
    assert take(box, 6.0) == ["a"], "it was not computed, so it is still its turn"
    turn = box.take(10.5, lead_s=0.4)
    assert cameras(turn.fresh) == ["b"]
    box.done("b", 10.5)
    put_all(box, "b", 11.0)
    assert cameras(box.take(15.7, lead_s=0.4).stale) == ["b"]


def test_stale_looks_are_found_while_they_wait():
    """Nobody has to have a turn for a look to be shed; the camera is in work until it was told."""
    box = WaitingLooks(Rules(staleness_s=5.0))
    put_all(box, "a", 0.0)
    put_all(box, "b", 3.0)
    assert box.expire(5.0) == ()
    assert cameras(box.expire(5.1)) == ["a"]
    put_all(box, "a", 5.2)
    assert take(box, 5.2) == ["b"]
    assert take(box, 5.2) == []
    box.done("a", 5.3)
    assert take(box, 5.3) == ["a"]


def test_a_look_that_came_late_may_wait_all_the_same():
    """A stream that was held up is not overload: its look is shed only if it waits here, for half of the budget."""
    rules = Rules(staleness_s=5.0)
    box = WaitingLooks(rules)
    box.put(request("late", 0.0, now_s=8.0, rules=rules), 8.0)
    assert box.expire(10.4) == ()
    assert cameras(box.expire(10.6)) == ["late"]


def test_open_incidents_come_first_and_starve_nobody():
    """While both wait, cameras with an open incident get their share of the turns and no more."""
    box = WaitingLooks(Rules(urgent_share=0.5))
    put_all(box, "abc")
    put_all(box, "UVW", urgent=True)
    assert [take(box)[0] for _ in range(6)] == ["U", "a", "V", "b", "W", "c"]
    box = WaitingLooks(Rules(urgent_share=0.75))
    served = Counter()
    for _ in range(400):
        put_all(box, "UVWXYZ", urgent=True)
        put_all(box, "abcdef")
        served[take(box)[0].isupper()] += 1
    assert served == {True: 300, False: 100}


def test_a_camera_whose_incident_opens_while_it_waits_moves_to_the_front():
    """Its next look says so, and takes the place of the one that waits."""
    box = WaitingLooks()
    put_all(box, "abc")
    box.put(request("c", 0.1, urgent=True), 0.1)
    assert [take(box, 0.1)[0] for _ in range(3)] == ["c", "a", "b"]
    assert (box.replaced, len(box)) == (1, 0)


def test_a_batch_is_taken_when_it_is_full():
    """On a GPU a group that fills a batch does not wait for its deadline; on a CPU nothing ever does."""
    box = WaitingLooks(Rules(batch_deadline_s=0.02))
    put_all(box, "abc")
    assert box.take(0.001, batch=4).fresh == ()
    assert box.next_due_s(4) == 0.02
    put_all(box, "d", 0.001)
    assert box.next_due_s(4) < 0.001
    assert take(box, 0.001, batch=4) == ["a", "b", "c", "d"]
    put_all(box, "a", 0.002)
    assert take(box, 0.002, batch=1) == ["a"]


def test_a_batch_that_is_not_full_is_taken_when_its_first_look_has_waited_long_enough():
    """The earliest deadline of the group counts, and a newer look of the same camera does not put it off."""
    box = WaitingLooks(Rules(batch_deadline_s=0.02))
    put_all(box, "a", 0.0)
    put_all(box, "b", 0.015)
    put_all(box, "a", 0.018)
    assert box.take(0.0199, batch=4).fresh == ()
    assert sorted(take(box, 0.02, batch=4)) == ["a", "b"]


def test_a_batch_holds_looks_of_one_group_only():
    """Pictures of another input size, or asked for other parts, are computed apart; the group that waits longest is next."""
    box = WaitingLooks(Rules(batch_deadline_s=0.0))
    put_all(box, "ace", group="small")
    put_all(box, "bd", group="large")
    assert take(box, batch=8) == ["a", "c", "e"]
    put_all(box, "ace", group="small")
    assert take(box, batch=8) == ["b", "d"]
    assert take(box, batch=2) == ["a", "c"]
    assert take(box, batch=2) == ["e"]


def test_a_camera_that_is_dropped_leaves_nothing_behind():
    """Neither its look nor the memory of its turns stays."""
    box = WaitingLooks()
    put_all(box, "ab")
    assert take(box) == ["a"]
    put_all(box, "a")
    box.drop("a")
    assert take(box) == ["b"]
    assert box.is_idle
    assert set(box._computed) == {"b"}


@given(
    st.lists(
        st.tuples(st.sampled_from("abcd"), st.booleans(), st.sampled_from("xy"), st.sampled_from("ptde")),
        max_size=60,
    )
)
def test_every_look_is_taken_once_or_counted_as_replaced(steps):
    """Nothing vanishes uncounted, nothing is handed out twice, no camera is in work twice, nothing is left in the lines."""
    box, now_s, put, seen, working = WaitingLooks(Rules(staleness_s=4.0)), 0.0, 0, [], set()

    def note(found):
        assert not working & set(cameras(found))
        working.update(cameras(found))
        seen.extend((one.look.camera_id, one.look.at_mono_s) for one in found)

    for camera, urgent, group, step in steps:
        now_s += 1.0
        if step == "p":
            put += 1
            box.put(request(camera, now_s, urgent=urgent, group=group), now_s)
        elif step == "t":
            turn = box.take(now_s, batch=2)
            assert len({one.group for one in turn.fresh}) <= 1
            note(turn.fresh + turn.stale)
        elif step == "d":
            working.discard(camera)
            box.done(camera, now_s)
        else:
            note(box.expire(now_s))
    assert len(seen) == len(set(seen))
    assert len(seen) + box.replaced + len(box) == put
    for camera in "abcd":
        working.discard(camera)
        box.done(camera, now_s)
    while turn := (found := box.take(now_s + 1.0, batch=3)).fresh + found.stale:
        note(turn)
    assert len(box) == 0
    assert box._lines == {}


class Simulation:
    """Cameras that offer looks at their own intervals, and workers that take a fixed time for each turn."""

    def __init__(self, intervals_s, *, workers, look_s, batch=1, urgent=(), groups=None, seed=1):
        self.rng, self.rules = random.Random(seed), Rules(staleness_s=5.0)
        self.box = WaitingLooks(self.rules)
        self.intervals_s, self.look_s, self.batch = intervals_s, look_s, batch
        self.urgent, self.groups = set(urgent), groups or {}
        self.free, self.turns = workers, itertools.count()
        self.offered, self.served, self.shed, self.ages = Counter(), Counter(), Counter(), {}
        self.events = [
            (self.rng.uniform(0, every_s), next(self.turns), "look", name)
            for name, every_s in intervals_s.items()
        ]
        heapq.heapify(self.events)

    def run(self, seconds):
        while self.events and self.events[0][0] < seconds:
            now_s, _, kind, what = heapq.heappop(self.events)
            if kind == "look":
                self._offer(what, now_s)
            elif kind == "done":
                self._done(what, now_s)
            self._work(now_s)
        return self

    def _offer(self, name, now_s):
        self.offered[name] += 1
        group = self.groups.get(name, "one")
        urgent = name in self.urgent
        self.box.put(request(name, now_s, urgent=urgent, group=group, rules=self.rules), now_s)
        self._at(now_s + self.intervals_s[name] * self.rng.uniform(0.95, 1.05), "look", name)
        if self.batch > 1:
            self._at(now_s + self.rules.batch_deadline_s, "due", None)

    def _done(self, turn, now_s):
        self.free += 1
        for one in turn.fresh:
            self.served[one.look.camera_id] += 1
            self.ages.setdefault(one.look.camera_id, []).append(now_s - one.look.at_mono_s)
            self.box.done(one.look.camera_id, now_s)

    def _work(self, now_s):
        while self.free:
            turn = self.box.take(now_s, batch=self.batch, lead_s=self.look_s)
            for one in turn.stale:
                self.shed[one.look.camera_id] += 1
                self.box.done(one.look.camera_id, now_s)
            if turn.fresh:
                self.free -= 1
                self._at(now_s + self.look_s, "done", turn)
            elif not turn.stale:
                return

    def _at(self, when_s, kind, what):
        heapq.heappush(self.events, (when_s, next(self.turns), kind, what))


def jain(values):
    values = list(values)
    return sum(values) ** 2 / (len(values) * sum(value * value for value in values))


def p99(ages):
    return sorted(ages)[int(0.99 * len(ages))]


def city(every_s, *, ordinary=189, bursty=10):
    """Return intervals of 200 cameras, of which one is dead and `bursty` offer 25 looks a second."""
    return {f"o{n}": every_s for n in range(ordinary)} | {f"b{n}": 0.04 for n in range(bursty)}


def ordinary(counter):
    return [count for name, count in counter.items() if name.startswith("o")]


def test_below_capacity_every_ordinary_look_is_answered_whatever_bursty_cameras_offer():
    """At 80 % of capacity ten cameras with 25 looks a second cost the others nothing but the look that is in work."""
    run = Simulation(city(189 / (0.8 * 25)), workers=2, look_s=0.08).run(300)
    unanswered = {name: run.offered[name] - run.served[name] for name in run.offered if name[0] == "o"}
    assert sum(run.shed.values()) == 0
    assert max(unanswered.values()) <= 1, "the last one of each may still wait"
    assert p99([age for name, ages in run.ages.items() if name[0] == "o" for age in ages]) < 1.0


def test_at_twice_the_capacity_every_camera_is_served_at_the_same_reduced_rate_within_the_budget():
    """Jain's index of the looks answered is at least 0.95 over the ordinary cameras, and over the bursty ones with them."""
    run = Simulation(city(189 / (2.0 * 25)), workers=2, look_s=0.08).run(300)
    assert 0.95 <= jain(ordinary(run.served)) <= 1
    assert jain(run.served.values()) >= 0.95
    assert len(run.served) == 199
    assert p99([age for ages in run.ages.values() for age in ages]) <= 5.0


def test_cameras_that_offer_looks_seldom_are_not_starved_by_the_budget():
    """With looks that go stale between two turns, nobody has all looks shed while others have all served."""
    intervals_s = {f"c{n}": (2.0, 8.0, 12.0)[n % 3] for n in range(300)}
    run = Simulation(intervals_s, workers=1, look_s=0.05).run(900)  # a turn every 15 s, looks are fresh for 5
    assert sum(run.shed.values()) > 1000
    assert jain(run.served[name] for name in intervals_s) >= 0.95
    means = [sum(run.served[f"c{n}"] for n in range(kind, 300, 3)) / 100 for kind in range(3)]
    assert min(means) >= 0.7 * max(means)
    assert p99([age for ages in run.ages.values() for age in ages]) <= 5.0


def test_overload_is_even_in_batches_of_several_groups_too():
    """A group with few cameras and one with many get the same number of looks for each camera."""
    intervals_s = {f"o{n}": 1.0 for n in range(200)}
    groups = {f"o{n}": "rare" if n < 20 else "frequent" for n in range(200)}
    run = Simulation(intervals_s, workers=2, look_s=0.5, batch=16, groups=groups).run(300)
    assert jain(run.served[name] for name in intervals_s) >= 0.95
    assert p99([age for ages in run.ages.values() for age in ages]) <= 5.0


def test_many_open_incidents_leave_the_others_half_of_the_turns():
    """A hundred cameras with incidents under overload: those that have none go on being looked at, evenly."""
    intervals_s = {f"o{n}": 1.0 for n in range(200)}
    run = Simulation(intervals_s, workers=2, look_s=0.08, urgent={f"o{n}" for n in range(100)}).run(300)
    first, others = [[run.served[f"o{n}"] for n in range(*span)] for span in ((0, 100), (100, 200))]
    assert jain(first) >= 0.95
    assert jain(others) >= 0.95
    assert 0.95 <= sum(others) / sum(first) <= 1.05
