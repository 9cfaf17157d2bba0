# SPDX-License-Identifier: AGPL-3.0-or-later
"""The workers of the inference service while the device does its work: real threads, a clock that stands still."""

import threading
import time

import pytest

from gridwatch.core.detections import Detections, Part, Unknown
from models.service.asking import Outcome
from models.service.device import Device
from models.service.inference import GPU_WORKERS, InferenceService, ServiceSettings
from models.service.waiting import Rules

FIRE, PEOPLE = frozenset({Part.FIRE}), frozenset({Part.PEOPLE})


def test_a_constructor_starts_nothing(make, clock, told, submit, wait_until):
    """Until `start`, looks wait and no thread runs."""
    before = threading.active_count()
    service, answers = make(told(), start=False)
    submit(service, clock, "a")
    assert (threading.active_count(), service.waiting, service.workers) == (before, 1, (0, 0))
    service.start(answers)
    answers.wait_for(1)
    wait_until(service.is_idle)


def test_on_a_cpu_each_worker_computes_one_look_at_a_time(make, clock, told, submit, wait_until):
    """One worker a thread that was asked for, and never a batch."""
    network = told()
    network.open.clear()
    service, answers = make(network, threads=3)
    for camera in "abcdef":
        submit(service, clock, camera)
    for _ in range(3):
        assert network.entered.acquire(timeout=5)
    assert (network.most_at_once, service.waiting) == (3, 3)
    network.open.set()
    assert sorted(camera for camera, *_ in answers.wait_for(6)) == list("abcdef")
    assert {count for count, *_ in network.asked} == {1}
    wait_until(service.is_idle)
    assert service.counts.outcomes[Outcome.ANSWERED] == 6


def test_a_camera_is_judged_by_one_worker_at_a_time_and_in_order(make, clock, told, submit, wait_until):
    """However many looks come from it and however many workers are free."""
    service, answers = make(told(), threads=8)
    for _ in range(200):
        submit(service, clock, "busy")
        submit(service, clock, "other")
        clock.advance(0.001)
    wait_until(service.is_idle)
    assert not answers.twice
    times = [at_s for camera, at_s, _ in answers.all if camera == "busy"]
    assert times == sorted(times)
    assert len(answers.all) + service.replaced == 400


def test_on_a_gpu_a_full_batch_is_computed_at_once(make, clock, told, submit):
    """Two workers share the device; what fills a batch does not wait."""
    network = told(batch=4)
    service, answers = make(network, threads=16)
    assert service.workers == (GPU_WORKERS, 0)
    for camera in "abcd":
        submit(service, clock, camera)
    answers.wait_for(4)
    assert [count for count, *_ in network.asked] == [4]
    assert service.counts.batches == 1


def test_a_batch_that_does_not_fill_is_computed_at_its_deadline(make, clock, told, sized, submit):
    """Not before, and not with pictures of another size or questions of another kind."""
    network = told(batch=4)
    service, answers = make(network, rules=Rules(batch_deadline_s=0.02))
    for camera, how in {
        "a": {},
        "b": {},
        "c": {"parts": PEOPLE},
        "d": {"frame": sized(640, 480)},
    }.items():
        submit(service, clock, camera, **how)
    time.sleep(0.05)
    assert network.asked == []
    clock.advance(0.02)
    service.check()
    answers.wait_for(4)
    assert sorted(count for count, *_ in network.asked) == [1, 1, 2]
    assert {(2, FIRE), (1, PEOPLE), (1, FIRE)} == {(count, parts) for count, _, parts in network.asked}
    assert all(len(sizes) == 1 for _, sizes, _ in network.asked)


def test_a_stale_look_is_answered_with_overload_and_not_computed(make, clock, told, submit, wait_until):
    """Unknown, in words that say why; counted; the next look of the camera is computed."""
    network = told()
    network.open.clear()
    service, answers = make(network, rules=Rules(staleness_s=5.0), timeout_s=60)
    submit(service, clock, "a")
    assert network.entered.acquire(timeout=5)
    submit(service, clock, "b")
    clock.advance(4.9)
    service.check()
    assert answers.all == []
    submit(service, clock, "c")
    clock.advance(0.2)
    service._work.clear()  # so that nobody seems to be stuck: other cameras keep the worker busy
    service.check()
    assert answers.wait_for(1)[0][0] == "b"
    assert answers.reasons() == ["overload: the look waited longer than its 5 s"]
    assert service.counts.outcomes[Outcome.STALE] == 1
    network.open.set()
    wait_until(lambda: len(answers.all) == 3)
    assert len(network.asked) == 2


@pytest.mark.parametrize(("takes_s", "in_time_s", "too_late_s"), [(0.5, 4.4, 4.6), (4.0, 3.7, 3.8)])
def test_a_look_is_shed_that_would_be_too_old_by_the_time_it_is_computed(
    make, told, clock, takes_s, in_time_s, too_late_s, submit, wait_until
):
    """How long that takes is learned, and reckoned at a quarter of the budget at most: slow is better than blind."""

    class Slow(told):
        """A network for which time passes while it computes."""

        def __init__(self):
            super().__init__(batch=2)

        def detect_all(self, frames, *, parts):
            clock.advance(takes_s)
            return super().detect_all(frames, parts=parts)

    for waits_s, outcome in ((in_time_s, Detections), (too_late_s, Unknown)):
        service, answers = make(Slow(), rules=Rules(staleness_s=5.0, batch_deadline_s=waits_s))
        for n in range(40):
            submit(service, clock, "a")
            submit(service, clock, "b")
            answers.wait_for(2 * n + 2)
            wait_until(service.is_idle)
        submit(service, clock, "a")
        clock.advance(waits_s)
        service.check()
        assert isinstance(answers.wait_for(81)[80][2], outcome)


def test_the_age_at_which_looks_are_decided_is_counted(make, clock, told, submit, wait_until):
    """From capture to the end of judging, for looks that were answered."""
    service, answers = make(told())
    for age_s in (0.0, 0.3, 4.0):
        submit(service, clock, "a", age_s=age_s)
        wait_until(service.is_idle)
    answers.wait_for(3)
    assert dict(service.counts.ages.buckets()) == {
        "0.1": 1, "0.25": 1, "0.5": 2, "1.0": 2, "2.0": 2, "3.0": 2, "5.0": 3, "10.0": 3, "30.0": 3, "+Inf": 3
    }  # fmt: skip
    assert service.counts.ages.total_s == pytest.approx(4.3)


def test_stop_drops_what_waits_and_ends_every_thread(make, clock, told, submit, wait_until):
    """What is in work is still answered; what comes after is ignored."""
    network = told()
    network.open.clear()
    service, answers = make(network)
    submit(service, clock, "a")
    assert network.entered.acquire(timeout=5)
    submit(service, clock, "b")
    stopping = threading.Thread(target=service.stop)
    stopping.start()
    wait_until(lambda: service.waiting == 0)
    submit(service, clock, "c")
    network.open.set()
    stopping.join(5)
    assert [camera for camera, *_ in answers.all] == ["a"]
    assert (service.waiting, service.workers, service.is_idle()) == (0, (0, 0), True)


def test_the_watcher_checks_by_itself(clock, told, answers_of, submit):
    """In real life nobody calls `check`."""
    network = told()
    network.open.clear()
    service, answers = (
        InferenceService(Device(network, clock), clock, ServiceSettings(timeout_s=1.0)),
        answers_of(),
    )
    service.start(answers)
    submit(service, clock, "a")
    assert network.entered.acquire(timeout=5)
    clock.advance(1.0)
    answers.wait_for(1)
    assert answers.reasons() == ["the network gave no answer within 1 s"]
    network.open.set()
    service.stop()


def test_a_service_that_rests_is_left_alone(clock, told, submit, answers_of, monkeypatch, wait_until):
    """Nothing is checked where no look is, as long as the device is well; from the first look on everything is."""
    monkeypatch.setattr("models.service.inference.CHECK_EVERY_S", 0.001)
    network, checks, asked = told(), [], []
    device = Device(network, clock)
    service = InferenceService(device, clock, ServiceSettings(threads=1))
    check, is_due = service.check, device.is_due
    monkeypatch.setattr(service, "check", lambda: (checks.append(1), check()))
    monkeypatch.setattr(device, "is_due", lambda: asked.append(1) or is_due())
    answers = answers_of()
    service.start(answers)
    wait_until(lambda: len(asked) > 20)
    assert not checks
    network.open.clear()
    submit(service, clock, "a")
    wait_until(lambda: len(checks) > 3)
    network.open.set()
    answers.wait_for(1)
    monkeypatch.setattr(device, "is_due", lambda: True)
    before = len(checks)
    wait_until(lambda: len(checks) > before + 3)
    service.stop()


def test_a_look_that_asks_for_nothing_says_nothing_of_the_device(
    make, clock, told, submit, wait_until, monkeypatch
):
    """Nothing was computed for it: a device that fails does not recover by such looks."""
    service, answers = make(told(), threads=1)
    worked = []
    monkeypatch.setattr(service.device, "worked", worked.append)
    submit(service, clock, "asleep", parts=frozenset())
    answers.wait_for(1)
    wait_until(service.is_idle)
    assert not worked
    submit(service, clock, "awake")
    answers.wait_for(2)
    wait_until(service.is_idle)
    assert worked
