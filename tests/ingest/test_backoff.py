# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a camera is tried again."""

import random

import pytest

from ingest.backoff import Backoff


def waits(count, **kinds):
    backoff = Backoff(random.Random(7))
    return [backoff.wait_s(**kinds) for _ in range(count)]


def test_waits_double_up_to_their_cap_and_are_jittered():
    """Each wait lies between half of its step and the whole, and no two cameras wait the same."""
    for i, wait in enumerate(waits(40)):
        step = min(2**i, 20)
        assert step / 2 <= wait <= step
    assert len(set(waits(40))) == 40
    assert Backoff(random.Random(1)).wait_s() != Backoff(random.Random(2)).wait_s()


def test_a_refused_password_is_tried_far_more_rarely():
    """Cameras lock accounts after a few wrong tries: never sooner than after five minutes, half an hour at last."""
    refused = waits(40, refused=True)
    assert all(300 <= wait <= 375 for wait in refused[:1])
    assert min(refused) >= 300
    assert all(1800 <= wait <= 2250 for wait in refused[3:])


def test_a_refusal_does_not_slow_the_tries_after_another_failure():
    """A refusal and a time-out are counted apart, and being let in forgets the refusals."""
    backoff = Backoff(random.Random(7))
    for _ in range(5):
        backoff.wait_s(refused=True)
    assert backoff.wait_s() <= 1.0
    backoff.opened()
    assert backoff.wait_s(refused=True) <= 375


@pytest.mark.parametrize(("healthy_s", "fresh"), [(59.9, False), (60.0, True)])
def test_a_minute_of_health_begins_anew(healthy_s, fresh):
    """A stream that broke off after a good minute is tried at once again; a flapping one is not."""
    backoff = Backoff(random.Random(7))
    for _ in range(10):
        backoff.wait_s()
    backoff.ran(healthy_s)
    assert (backoff.wait_s() <= 1.0) is fresh


def test_failures_without_end_do_not_overflow():
    """A camera that is off for years is asked every half a minute: it is back within 30 s of its return."""
    assert 10 <= waits(5000)[-1] <= 20
    assert waits(5000, refused=True)[-1] <= 2250
