# SPDX-License-Identifier: AGPL-3.0-or-later
"""An opening ends with an answer: devices that open and hang, looks for alerts that never return, the first looks."""

import threading
import time

import pytest

from gridwatch.core.detections import Part
from models.errors import InferenceError
from models.service.bounded import BoundedCalls
from models.service.device import Device, DeviceRules, DeviceState
from models.service.ready import ENOUGH_S

FIRE, PEOPLE = frozenset({Part.FIRE}), frozenset({Part.PEOPLE})


def start(device, openings_before):
    """Begin an attempt on a thread, as the service does, and wait until it is under way."""
    attempt = threading.Thread(target=device.mend, daemon=True)
    attempt.start()
    until_s = time.monotonic() + 5
    while len(openings_before.opened) == openings_before.seen and time.monotonic() < until_s:
        time.sleep(0.001)
    openings_before.seen = len(openings_before.opened)
    return attempt


def test_a_device_that_opens_and_hangs_then_has_not_opened(named, clock, openings, hanging, rules):
    """Drivers do that: an opening ends with an answer. What hangs is not tried before the fallback, and three times in all."""
    openings.seen = 0
    gpus = []

    def reopen():
        gpus.append(named("gpu", batch=16))
        gpus[-1].hangs = hanging
        openings.opened.append("gpu")
        return gpus[-1]

    device = Device(named("gpu", batch=16), clock, reopen=reopen, fallback=openings.fallback, rules=rules)
    for _ in range(3):
        device.failed(device.network, "no answer", hangs=True)
    clock.advance(8.0)
    assert device.is_due()
    device.mend()
    assert (device.state, openings.opened) == (DeviceState.FALLBACK, ["cpu"])
    openings.seen = 1
    attempts = []
    for _ in range(6):
        clock.advance(60.0)
        if device.is_due():
            attempts.append(start(device, openings))
            assert device.state is DeviceState.FALLBACK, "the CPU answers meanwhile"
        clock.advance(30.1)
        device.is_due()
    assert len(attempts) == rules.most_left_behind
    assert (device.state, device.network.name, device.lost_for_s()) == (DeviceState.FALLBACK, "cpu", 0.0)
    hanging.set()
    for attempt in attempts:
        attempt.join(5)


def test_networks_that_somebody_hangs_in_count_as_attempts_that_never_return(
    named, clock, openings, fail, rules
):
    """Each holds threads; the fallback is still opened, and it too not without end."""
    device = Device(
        named("gpu", batch=16), clock, reopen=openings.reopen, fallback=openings.fallback, rules=rules
    )
    fail(device, 3)
    device.hung = [named("a"), named("b"), named("c")]
    clock.advance(60.0)
    assert not device.is_due()
    device._attempts = rules.fall_back_after
    assert device.is_due()
    device.hung = [named(str(n)) for n in range(6)]
    assert not device.is_due()
    device.hung = []
    assert device.is_due()


def test_a_device_that_came_back_is_lost_no_more_though_no_look_comes(device, clock, fail):
    """In a night without looks nobody may wait for one; the empty picture was answered."""
    fail(device, 3)
    clock.advance(1.0)
    assert device.lost_for_s() == 1.0
    device.mend()
    clock.advance(400.0)
    assert (device.state, device.lost_for_s()) == (DeviceState.READY, 0.0)


def test_an_answer_to_the_empty_picture_that_the_first_look_belied_counts_no_more(
    device, clock, fail, mend_after
):
    """A device that opens for ever and answers nothing must not look well in between."""
    fail(device, 3)
    for pause_s in (1.0, 2.0):
        mend_after(device, clock, pause_s)
        assert device.lost_for_s() == (0.0 if pause_s == 1.0 else 3.0)
        fail(device)
    mend_after(device, clock, 4.0)
    assert (device.state, device.lost_for_s()) == (DeviceState.READY, 7.0)
    device.worked(device.network)
    assert device.lost_for_s() == 0.0


def test_the_picture_of_an_alert_is_not_waited_for_for_ever(named, clock, openings, hanging):
    """No answer in time is an error and one failure of the device; meanwhile no further one is tried. Late is still alive."""
    network = named("gpu")
    rules = DeviceRules(look_within_s=0.05)
    device = Device(network, clock, reopen=openings.reopen, rules=rules)
    network.hangs = hanging
    with pytest.raises(InferenceError, match=r"did not come back within 0\.05 s"):
        device.detect(None, parts=FIRE)
    for _ in range(5):
        with pytest.raises(InferenceError, match="an earlier picture has not come back"):
            device.detect(None, parts=FIRE)
    assert (device.state, device._failures, len(network.asked)) == (DeviceState.READY, 1, 1)
    hanging.set()
    until_s = time.monotonic() + 5
    while device._failures and time.monotonic() < until_s:
        time.sleep(0.001)
    assert device._failures == 0
    while device._calls.hang(network) and time.monotonic() < until_s:
        time.sleep(0.001)
    assert len(device.detect(None, parts=FIRE)) == 0


def test_looks_for_alerts_that_never_return_are_bounded(hanging):
    """Whosever they are."""
    calls = BoundedCalls(2)
    for _ in range(2):
        with pytest.raises(InferenceError, match="did not come back"):
            calls.call(object(), lambda: hanging.wait(10), 0.01)
    with pytest.raises(InferenceError, match="an earlier question"):
        calls.call(object(), lambda: 1, 5)
    assert len(calls.owners()) == 2
    with pytest.raises(ZeroDivisionError):
        BoundedCalls(1).call(None, lambda: 1 / 0, 5)


def test_before_the_first_look_every_question_is_compiled_for(named, clock, openings):
    """For 16:9 pictures, the most frequent question first; and each is answered once."""
    network = named("gpu")
    Device(network, clock, reopen=openings.reopen, looks=(FIRE, PEOPLE)).make_ready()
    assert network.asked == [FIRE, PEOPLE]
    assert network.prepared == [(1920, 1080, FIRE), (1920, 1080, PEOPLE)]


def test_compiling_ends_when_it_takes_too_long(named, clock, openings):
    """A device with many questions must open within its time; the rest is compiled when it is asked."""

    class Slow(named):
        def prepare(self, width, height, *, parts):
            super().prepare(width, height, parts=parts)
            clock.advance(ENOUGH_S + 1.0)

    network = Slow("gpu")
    Device(network, clock, reopen=openings.reopen, looks=(FIRE, PEOPLE)).make_ready()
    assert (len(network.asked), len(network.prepared)) == (1, 1)


@pytest.mark.parametrize("hangs", [False, True])
def test_a_device_that_does_not_answer_at_the_start_is_lost_before_the_first_look(
    named, clock, openings, hanging, hangs
):
    """The process starts all the same, and the CPU takes over as at any other time: at once where the device hangs."""
    network = named("gpu", batch=16)
    network.fails, network.hangs = not hangs, hanging if hangs else None
    rules = DeviceRules(open_within_s=0.05 if hangs else 30.0)
    device = Device(network, clock, reopen=openings.reopen, fallback=openings.fallback, rules=rules)
    device.make_ready()
    assert device.state is DeviceState.LOST
    clock.advance(10.0)
    device.mend()
    assert openings.opened == (["cpu"] if hangs else ["gpu"])
