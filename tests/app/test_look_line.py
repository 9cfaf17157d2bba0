# SPDX-License-Identifier: AGPL-3.0-or-later
"""Looks that came together are answered in order; live ones are never held up by a queue of their own."""

from datetime import UTC, datetime

import pytest

from gridwatch.app.look_line import MOST, LookLine
from gridwatch.core.look import Look, LookReason


def look(at_s, camera="a"):
    return Look(camera, LookReason.SUSPECT, float(at_s), datetime(2026, 5, 1, tzinfo=UTC), 0.0, None)


class Service:
    """Notes what it is asked, and says of the look that it has of a camera that it was answered."""

    def __init__(self):
        self.asked, self.has = [], {}
        self.line = LookLine(self.submit)

    def submit(self, one):
        self.asked.append((one.camera_id, one.at_mono_s))
        self.has[one.camera_id] = one

    def answer(self, camera="a"):
        self.line.answered(self.has[camera])


@pytest.fixture
def service():
    return Service()


def test_a_burst_is_answered_one_by_one(service):
    """The next look goes when the one before was answered, and never earlier."""
    service.line.put([look(1), look(2), look(3)])
    assert service.asked == [("a", 1)]
    service.answer()
    assert service.asked == [("a", 1), ("a", 2)]
    service.answer()
    service.answer()
    assert service.asked == [("a", 1), ("a", 2), ("a", 3)]
    assert service.line.is_idle()


def test_single_looks_go_at_once(service):
    """Without a burst nothing waits here: the service lets the newer replace the older."""
    service.line.put([look(1)])
    service.line.put([look(2)])
    service.line.put([])
    assert service.asked == [("a", 1), ("a", 2)]
    assert service.line.is_idle()
    service.answer()
    assert len(service.asked) == 2


def test_an_answer_to_an_earlier_look_calls_nobody(service):
    """The look that was being computed when a burst came is none of the burst: its first look is waited for."""
    before = look(0)
    service.line.put([before])
    service.line.put([look(1), look(2), look(3)])
    service.line.answered(before)
    assert service.asked == [("a", 0), ("a", 1)]
    service.answer()
    assert service.asked[-1] == ("a", 2)


def test_a_live_look_comes_after_the_burst_and_only_the_newest(service):
    """What came while a burst was answered is one look: the latest; the others are counted."""
    service.line.put([look(1), look(2)])
    service.line.put([look(3)])
    service.line.put([look(4)])
    service.line.put([look(3, "b")])
    for _ in range(4):
        service.answer()
    assert service.asked == [("a", 1), ("b", 3), ("a", 2), ("a", 4)]
    assert service.line.dropped == 1
    assert service.line.is_idle()


def test_a_burst_is_bounded(service):
    """However much comes, a camera has a fixed number of looks waiting."""
    service.line.put([look(n) for n in range(MOST + 5)])
    service.line.put([look(100 + n) for n in range(5)])
    for _ in range(4 * MOST):
        service.answer()
    assert len(service.asked) <= MOST + 1
    assert service.line.dropped >= 5
    assert [at for _, at in service.asked] == sorted(at for _, at in service.asked)


def test_a_camera_that_is_gone_is_forgotten(service):
    """Its looks do not go any more."""
    service.line.put([look(1), look(2)])
    service.line.forget("a")
    service.answer()
    assert service.asked == [("a", 1)]
    assert service.line.is_idle()
