# SPDX-License-Identifier: AGPL-3.0-or-later
"""The inference service when the network hangs, fails or answers nonsense: each look is answered once, and work goes on."""

import pytest

from gridwatch.core.detections import Detections, Part, Unknown
from models.errors import InferenceError
from models.service.asking import Outcome
from models.service.device import DeviceState

FIRE, PEOPLE = frozenset({Part.FIRE}), frozenset({Part.PEOPLE})


def test_a_network_that_hangs_is_not_called_overload(make, clock, told, submit):
    """What waits behind a look that does not come back says so."""
    network = told()
    network.open.clear()
    service, answers = make(network, timeout_s=60)
    submit(service, clock, "a")
    assert network.entered.acquire(timeout=5)
    submit(service, clock, "b")
    clock.advance(5.1)
    service.check()
    answers.wait_for(1)
    assert answers.reasons() == ["the network does not answer: the look waited longer than its 5 s"]


def test_a_look_that_takes_too_long_is_unknown_once_and_its_late_answer_is_discarded(
    make, clock, told, submit, wait_until
):
    """Its camera stays in work until the worker is back, so that its next look cannot overtake it."""
    network = told()
    network.open.clear()
    service, answers = make(network, timeout_s=10.0)
    submit(service, clock, "a")
    assert network.entered.acquire(timeout=5)
    clock.advance(9.9)
    service.check()
    assert answers.all == []
    clock.advance(0.1)
    service.check()
    service.check()
    assert answers.reasons() == ["the network gave no answer within 10 s"]
    submit(service, clock, "a")
    assert service.longest_in_work_s() == pytest.approx(10.0)
    assert not network.entered.acquire(timeout=0.05)
    network.open.set()
    answers.wait_for(2)
    wait_until(service.is_idle)
    assert answers.reasons() == ["the network gave no answer within 10 s", ""]
    assert service.counts.discarded == 1
    assert service.counts.outcomes[Outcome.TIMED_OUT] == service.counts.outcomes[Outcome.ANSWERED] == 1
    assert service.workers == (1, 0)


def test_a_worker_that_does_not_come_back_is_replaced(make, clock, told, submit, wait_until):
    """After a second time-out its camera is free and a new worker takes over; the old one ends when it returns."""
    network = told()
    network.open.clear()
    service, answers = make(network, timeout_s=10.0)
    submit(service, clock, "a")
    assert network.entered.acquire(timeout=5)
    clock.advance(10.0)
    service.check()
    clock.advance(10.0)
    service.check()
    assert service.workers == (1, 1)
    assert service.longest_in_work_s() == 0.0
    submit(service, clock, "a")
    assert network.entered.acquire(timeout=5), "the new worker is at it"
    network.open.set()
    answers.wait_for(2)
    wait_until(lambda: service.workers == (1, 0))
    assert (service.counts.workers_replaced, service.counts.discarded) == (1, 1)
    assert service.is_idle()


def test_the_number_of_workers_left_behind_is_bounded(make, clock, told, submit):
    """Past the bound the look stays in work, so that the heartbeat ends and the parent replaces the process."""
    network = told()
    network.open.clear()
    service, _ = make(network, timeout_s=10.0, most_replaced=2)
    for camera in "abc":
        submit(service, clock, camera)
        assert network.entered.acquire(timeout=5)
        for _ in range(2):
            clock.advance(10.0)
            service.check()
    assert service.workers == (1, 2)
    assert service.longest_in_work_s() == pytest.approx(20.0)
    clock.advance(60.0)
    service.check()
    assert service.longest_in_work_s() == pytest.approx(80.0)


def test_errors_make_looks_unknown_and_lose_the_device(make, clock, told, submit, wait_until):
    """While it is lost nothing is asked; when it is back, looks are answered again."""
    network, again = told(), told()
    network.error = InferenceError("out of memory")
    service, answers = make(network, reopen=lambda: again)
    for camera in "abc":
        submit(service, clock, camera)
        wait_until(service.is_idle)
    assert all("out of memory" in reason for reason in answers.reasons())
    assert service.device.state is DeviceState.LOST
    submit(service, clock, "a")
    assert "the inference device is lost" in answers.wait_for(4)[3][2].reason
    assert len(network.asked) == 3
    assert service.counts.outcomes[Outcome.LOST] == 1
    assert service.counts.outcomes[Outcome.DEVICE] == 3
    clock.advance(1.0)
    service.check()
    wait_until(lambda: service.device.state is DeviceState.READY)
    submit(service, clock, "a")
    assert isinstance(answers.wait_for(5)[4][2], Detections)
    assert len(again.asked) == 1


def test_the_cpu_takes_over_and_gives_back_with_as_many_workers_as_each_needs(
    make, clock, told, submit, wait_until
):
    """A fallback has one worker a core; with the device its two come back."""
    gpu, cpu, again = told(batch=8), told(), told(batch=8)
    gpus = iter([InferenceError("no device"), again])

    def reopen():
        if isinstance(found := next(gpus), Exception):
            raise found
        return found

    service, answers = make(gpu, threads=5, reopen=reopen, fallback=lambda: cpu)
    assert service.workers == (2, 0)
    gpu.error = InferenceError("fell off the bus")
    for n in range(3):
        submit(service, clock, "a")
        clock.advance(0.1)
        service.check()
        answers.wait_for(n + 1)
    wait_until(lambda: service.device.state is DeviceState.LOST)
    for state in (DeviceState.LOST, DeviceState.FALLBACK):
        clock.advance(2.0)
        service.check()
        wait_until(lambda: service.device._opening_since_s is None and service.device._opening > 0)
        wait_until(lambda state=state: service.device.state is state)
    wait_until(lambda: service.workers == (5, 0))
    submit(service, clock, "a")
    assert isinstance(answers.wait_for(4)[3][2], Detections)
    assert len(cpu.asked) == 1
    clock.advance(60.0)
    service.check()
    wait_until(lambda: service.workers == (2, 0))
    submit(service, clock, "a")
    clock.advance(0.1)
    service.check()
    answers.wait_for(5)
    assert len(again.asked) == 1


def test_a_device_that_hangs_is_lost_and_the_cpu_takes_over(make, clock, told, submit, wait_until):
    """Time-outs are failures of the device; workers stuck in it are replaced by those of the fallback."""
    gpu, cpu = told(batch=2), told()

    def reopen():
        raise InferenceError("no device")

    service, answers = make(gpu, threads=2, reopen=reopen, fallback=lambda: cpu, timeout_s=10.0)
    gpu.open.clear()
    for pair in ("ab", "cd"):
        for camera in pair:
            submit(service, clock, camera)
        assert gpu.entered.acquire(timeout=5)
    for _ in range(2):
        clock.advance(10.0)
        service.check()
    answers.wait_for(4)
    assert service.workers == (2, 2)
    for camera in "ab":
        submit(service, clock, camera)
    assert gpu.entered.acquire(timeout=5)
    clock.advance(10.0)
    service.check()
    assert service.device.state is DeviceState.LOST
    for _ in range(3):
        clock.advance(5.0)
        service.check()
        wait_until(lambda: service.device._opening_since_s is None)
    wait_until(lambda: service.device.state is DeviceState.FALLBACK)
    clock.advance(10.0)
    service.check()
    submit(service, clock, "e")
    wait_until(lambda: cpu.asked)
    wait_until(lambda: isinstance(answers.all[-1][2], Detections))


def test_one_picture_that_cannot_be_looked_at_costs_its_batch_nothing(make, clock, told, sized, submit):
    """Each of a batch that failed for no reason of the device's is asked alone."""

    class Choosy(told):
        def detect_all(self, frames, *, parts):
            if any(frame.width == 1 for frame in frames):
                raise ValueError("too small")
            return super().detect_all(frames, parts=parts)

        def input_size(self, _width, _height):
            return 640, 384

    service, answers = make(Choosy(batch=3))
    for camera, width in (("a", 640), ("b", 1), ("c", 640)):
        submit(service, clock, camera, frame=sized(width, 360))
    answers.wait_for(3)
    by_camera = {camera: answer for camera, _, answer in answers.all}
    assert by_camera["b"] == Unknown("the look failed (ValueError)")
    assert [type(by_camera[camera]) for camera in "ac"] == [Detections, Detections]
    assert service.device.state is DeviceState.READY


def test_an_answer_that_is_no_number_is_its_own_pictures_trouble(make, clock, told, submit, wait_until):
    """Where others of the batch are answered, the device is not at fault; where none is, it may be."""

    class NotFinite(told):
        bad: frozenset[int] = frozenset()

        def detect_all(self, frames, *, parts):
            answers = list(super().detect_all(frames, parts=parts))
            return [Unknown("not finite") if n in self.bad else one for n, one in enumerate(answers)]

    network = NotFinite(batch=2)
    service, answers = make(network, reopen=lambda: network)
    for bad, outcome in ((frozenset({1}), Outcome.PICTURE), (frozenset({0, 1}), Outcome.DEVICE)):
        network.bad = bad
        before = len(answers.all)
        for camera in "ab":
            submit(service, clock, camera)
        answers.wait_for(before + 2)
        wait_until(lambda outcome=outcome: service.counts.outcomes[outcome] == len(network.bad))
    assert service.device._failures == 1


def test_an_answer_that_cannot_be_delivered_ends_no_worker(make, clock, told, submit, wait_until):
    """A mistake in what judges costs that look, and is counted."""
    service, _ = make(told(), start=False)
    told = []

    def judge(look, _answer):
        told.append(look.camera_id)
        if look.camera_id == "a":
            raise ZeroDivisionError

    service.start(judge)
    for camera in "ab":
        submit(service, clock, camera)
        wait_until(service.is_idle)
    submit(service, clock, "a")
    wait_until(service.is_idle)
    assert told == ["a", "b", "a"]
    assert service.counts.failed_deliveries == 2


def test_one_stall_is_one_failure_however_many_wait_for_it(make, clock, told, submit, wait_until):
    """Four cores held up for eleven seconds are no lost device; the late answers say that it is alive."""
    network = told()
    network.open.clear()
    service, answers = make(network, threads=4, reopen=told, timeout_s=10.0)
    for camera in "abcd":
        submit(service, clock, camera)
        assert network.entered.acquire(timeout=5)
    clock.advance(11.0)
    service.check()
    service.check()
    assert len(answers.all) == 4
    assert (service.device.state, service.device._failures) == (DeviceState.READY, 1)
    network.open.set()
    wait_until(lambda: service.device._failures == 0)
    wait_until(service.is_idle)


def test_a_device_in_which_all_workers_hang_gives_way_to_the_cpu_and_to_every_camera(
    make, clock, told, submit, wait_until
):
    """Thirty seconds without an answer lose it. Workers left in it neither keep cameras from the CPU nor end the heartbeat."""
    gpu, cpu = told(batch=2), told()
    gpu.open.clear()
    service, answers = make(
        gpu, threads=4, reopen=lambda: gpu, fallback=lambda: cpu, timeout_s=10.0, most_replaced=1
    )
    for pair in ("ab", "cd"):
        for camera in pair:
            submit(service, clock, camera)
        assert gpu.entered.acquire(timeout=5)
    longest_s = 0.0
    for n in range(3):
        clock.advance(10.0)
        service.check()
        longest_s = max(longest_s, service.longest_in_work_s())
        if n == 1:  # there is one worker in the place of one of the two
            for camera in "ef":
                submit(service, clock, camera)
            assert gpu.entered.acquire(timeout=5)
    assert service.device.state is DeviceState.LOST
    clock.advance(8.0)
    service.check()
    wait_until(lambda: service.device.state is DeviceState.FALLBACK)
    assert longest_s < 60.0
    service.check()
    wait_until(lambda: service.workers == (4, 3))
    assert service.longest_in_work_s() == 0.0
    before = len(answers.all)
    for camera in "abcdef":
        submit(service, clock, camera)
    answers.wait_for(before + 6)
    assert all(isinstance(answer, Detections) for *_, answer in answers.all[before:])
    assert service.device.hung == [gpu] * 3


def test_a_worker_that_cannot_be_started_is_not_counted_and_tried_again(
    make, clock, told, submit, wait_until, monkeypatch
):
    """A machine without threads left for a moment must not stay without workers."""
    service, answers = make(told(), start=False)
    with monkeypatch.context() as patched:
        patched.setattr("threading.Thread.start", _no_thread)
        service._staff()
    assert service.workers == (0, 0)
    service.start(answers)
    submit(service, clock, "a")
    answers.wait_for(1)
    wait_until(service.is_idle)


def _no_thread(_thread):
    raise RuntimeError("can't start new thread")
