# SPDX-License-Identifier: AGPL-3.0-or-later
"""When a camera is tried again."""

import random

import pytest

from ingest.backoff import Backoff


def waits(count, **kinds):
    backoff = Backoff(random.Random(7))
    return [backoff.wait_s(**kinds) for _ in range(count)]


def test_waits_double_up_to_a_minute_and_are_jittered():
    """Each wait lies between half of its step and the whole, and no two cameras wait the same."""
    for i, wait in enumerate(waits(40)):
        step = min(2**i, 60)
        assert step / 2 <= wait <= step
    assert len(set(waits(40))) == 40
    assert Backoff(random.Random(1)).wait_s() != Backoff(random.Random(2)).wait_s()


def test_a_refused_password_is_tried_ten_times_as_rarely():
    """Cameras lock accounts after a few wrong tries."""
    assert waits(40, refused=True) == pytest.approx([10 * wait for wait in waits(40)])


@pytest.mark.parametrize(("healthy_s", "fresh"), [(59.9, False), (60.0, True)])
def test_a_minute_of_health_begins_anew(healthy_s, fresh):
    """A stream that broke off after a good minute is tried at once again; a flapping one is not."""
    backoff = Backoff(random.Random(7))
    for _ in range(10):
        backoff.wait_s()
    backoff.ran(healthy_s)
    assert (backoff.wait_s() <= 1.0) is fresh


def test_failures_without_end_do_not_overflow():
    """A camera that is off for years is asked once a minute."""
    assert waits(5000)[-1] <= 60
