# SPDX-License-Identifier: AGPL-3.0-or-later
"""A device that is lost, opened anew, and replaced by another one meanwhile. Time stands still until told."""

import threading

import pytest

from gridwatch.core.detections import Part
from models.errors import InferenceError
from models.service.device import Device, DeviceState

FIRE, PEOPLE = frozenset({Part.FIRE}), frozenset({Part.PEOPLE})


def test_some_failures_are_no_lost_device(device, fail):
    """One picture that no engine can take must not cost all cameras their looks; an answer in between clears the count."""
    fail(device, 2)
    device.worked(device.network)
    fail(device, 2)
    assert device.state is DeviceState.READY
    assert not device.is_due()
    fail(device)
    assert (device.state, device.network) == (DeviceState.LOST, None)
    assert device.trouble == "the inference device is lost (device error)"


def test_a_lost_device_is_opened_anew_after_growing_pauses(device, clock, openings, fail, mend_after):
    """A pause before the first attempt, doubled after each that fails; the count starts anew once looks are answered."""
    openings.fail_next = 2
    fail(device, 3)
    for pause_s in (1.0, 2.0, 4.0):
        mend_after(device, clock, pause_s)
    assert openings.opened == ["failed", "failed", "gpu"]
    assert (device.state, device.reopened, device.failed_openings) == (DeviceState.READY, 1, 2)
    device.worked(device.network)
    fail(device, 3)
    mend_after(device, clock, 1.0)


def test_a_device_that_opens_and_fails_again_has_not_come_back(device, clock, openings, fail, mend_after):
    """Its first failure is enough to lose it again, and the pauses go on growing."""
    fail(device, 3)
    mend_after(device, clock, 1.0)
    fail(device)
    assert device.state is DeviceState.LOST
    mend_after(device, clock, 2.0)
    assert openings.opened == ["gpu", "gpu"]
    assert device.lost_for_s() == pytest.approx(3.0), "since it was first lost: opening it is no answer"


def test_what_a_network_that_was_replaced_reports_is_ignored(device, clock, fail, mend_after):
    """A late failure of the old network must not lose the new one."""
    old = device.network
    fail(device, 3)
    mend_after(device, clock, 1.0)
    device.failed(old, "late")
    device.worked(old)
    assert device.state is DeviceState.READY
    fail(device)
    assert device.state is DeviceState.LOST, "the old one's answer proved nothing about the new one"


def test_after_attempts_that_failed_the_fallback_answers(device, clock, openings, fail, mend_after):
    """The CPU computes meanwhile; the device is tried again later, and takes over once it has answered a look."""
    openings.fail_next = 4
    fail(device, 3)
    for pause_s in (1.0, 2.0, 4.0, 8.0):
        mend_after(device, clock, pause_s)
    assert openings.opened == ["failed"] * 3 + ["cpu"]
    assert (device.state, device.network.name, device.batch) == (DeviceState.FALLBACK, "cpu", 1)
    device.worked(device.network)
    assert device.lost_for_s() == 0.0
    mend_after(device, clock, 60.0)
    assert (openings.opened[-1], device.state) == ("failed", DeviceState.FALLBACK)
    mend_after(device, clock, 60.0)
    assert (device.state, device.batch) == (DeviceState.READY, 16)
    device.worked(device.network)
    assert not device.is_due()


def test_a_device_that_comes_back_and_fails_gives_way_to_the_fallback_at_once(
    device, clock, openings, fail, mend_after
):
    """The fallback is kept until the device has proved itself: trying it costs one look, not minutes."""
    openings.fail_next = 3
    fail(device, 3)
    for pause_s in (1.0, 2.0, 4.0, 8.0):
        mend_after(device, clock, pause_s)
    cpu = device.network
    device.worked(cpu)
    mend_after(device, clock, 60.0)
    fail(device)
    assert (device.state, device.network) == (DeviceState.FALLBACK, cpu)
    mend_after(device, clock, 60.0)


def test_device_and_fallback_take_turns_while_both_fail(device, clock, openings, fail, mend_after):
    """A fallback that cannot be opened does not keep the device from being tried."""
    openings.fail_next, openings.fallback_fails = 4, True
    fail(device, 3)
    for pause_s in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0):
        mend_after(device, clock, pause_s)
    assert openings.opened == ["failed"] * 3 + ["failed fallback", "failed", "failed fallback"]
    mend_after(device, clock, 60.0)
    assert (openings.opened[-1], device.state) == ("gpu", DeviceState.READY)


def test_without_a_fallback_the_device_is_tried_for_ever(named, clock, openings, fail, mend_after, rules):
    """The pauses stop growing at the bound; how long nothing has answered is told."""
    device = Device(named("cpu"), clock, reopen=openings.reopen, rules=rules)
    openings.fail_next = 10
    fail(device, 3)
    for pause_s in (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0):
        mend_after(device, clock, pause_s)
    assert device.state is DeviceState.LOST
    assert device.lost_for_s() == pytest.approx(183.0)


def test_a_device_that_cannot_be_opened_anew_is_asked_for_ever(named, clock, fail):
    """Without a way to open it, giving it up would help nobody."""
    device = Device(named("only"), clock)
    fail(device, 100)
    assert (device.state, device.is_due()) == (DeviceState.READY, False)


def test_an_opening_that_never_returns_is_left_behind(named, clock, openings, fail, rules):
    """A driver that hangs ends neither the attempts nor the fallback; what it brings too late is not used."""
    hanging, back = threading.Event(), threading.Event()

    def hang():
        back.set()
        hanging.wait(10)
        return named("too late")

    device = Device(named("gpu"), clock, reopen=hang, fallback=openings.fallback, rules=rules)
    fail(device, 3)
    clock.advance(1.0)
    attempt = threading.Thread(target=device.mend)
    attempt.start()
    assert back.wait(5)
    clock.advance(30.0)
    assert not device.is_due(), "one attempt at a time"
    clock.advance(0.1)
    device.is_due()
    clock.advance(60.0)
    assert device.is_due()
    device.mend()
    assert (openings.opened, device.state) == (["cpu"], DeviceState.FALLBACK)
    hanging.set()
    attempt.join(5)
    assert device.network.name == "cpu"


def test_attempts_that_never_return_are_bounded(named, clock, fail, rules):
    """Each leaves a thread behind: after three the device is not tried any more."""
    hanging = threading.Event()
    device = Device(named("gpu"), clock, reopen=lambda: hanging.wait(10), rules=rules)
    fail(device, 3)
    attempts = []
    for _ in range(5):
        clock.advance(60.0)
        if device.is_due():
            attempts.append(threading.Thread(target=device.mend))
            attempts[-1].start()
            while device._opening_since_s is None:
                pass
        clock.advance(31.0)
        device.is_due()
    assert len(attempts) == rules.most_left_behind
    hanging.set()
    for attempt in attempts:
        attempt.join(5)
    clock.advance(60.0)
    assert device.is_due(), "they came back, so it may be tried again"


def test_a_question_past_the_service_counts_as_well(device, clock, mend_after):
    """What an alert's picture asks is answered on the same network, and its failures are the device's."""
    assert len(device.detect(None, parts=FIRE)) == 0
    device.network.fails = True
    for _ in range(3):
        with pytest.raises(InferenceError, match="gpu failed"):
            device.detect(None, parts=FIRE)
    assert device.state is DeviceState.LOST
    with pytest.raises(InferenceError, match="the inference device is lost"):
        device.detect(None, parts=FIRE)
    mend_after(device, clock, 1.0)
    assert len(device.detect(None, parts=FIRE)) == 0
