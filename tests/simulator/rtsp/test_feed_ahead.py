# SPDX-License-Identifier: AGPL-3.0-or-later
"""The thread that makes units ahead of their time, with a feed that can be told to break."""

import itertools
import time

import pytest

from gridwatch.core.clock import SystemClock
from gridwatch.simulator.errors import FeedError
from gridwatch.simulator.feed import Ahead
from gridwatch.simulator.rtsp.media import AccessUnit
from gridwatch.simulator.timeline import Timeline


class FragileFeed:
    """One unit every 20 ms; breaks for good at unit `breaks_at`, until it is opened again, two units back."""

    skipped = 0

    def __init__(self, breaks_at=None, *, ahead_s=0.4, refill_s=0.4):
        self.breaks_at, self.ahead_s, self.refill_s = breaks_at, ahead_s, refill_s
        self.opened = self.closed = self.index = 0
        self.is_open = False

    def open(self, start_s):
        self.opened += 1
        self.is_open = True
        self.index = max(0, int(start_s / 0.02) - 2)

    def next_unit(self, now_s):
        if self.index == self.breaks_at:
            self.breaks_at, self.is_open = None, False
        if not self.is_open:
            raise FeedError("broken")
        self.index += 1
        return AccessUnit((b"\x41",), (self.index - 1) * 0.02, 0.0, is_key=False)

    def close(self):
        self.closed += 1
        self.is_open = False


@pytest.fixture
def start():
    running = []

    def started(feed):
        timeline = Timeline.starting_now(SystemClock())
        feed.open(0.0)
        ahead = Ahead("gate-1", feed, timeline)
        running.append(ahead)
        ahead.start()
        return ahead, timeline

    yield started
    for ahead in running:
        ahead.stop()
        ahead.join(5)


def taken(ahead, seconds):
    found, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        if ahead.peek() is None:
            time.sleep(0.005)
        else:
            found.append(ahead.pop().due_s)
    return found


def test_units_are_made_ahead_and_no_further(start):
    """At once as much as was asked for, and then as much as time goes on."""
    ahead, timeline = start(FragileFeed())
    time.sleep(0.2)
    now_s = timeline.now_s()
    due = taken(ahead, 0.1)
    while due[-1] <= now_s + 0.3:
        due += taken(ahead, 0.1)
    assert due[0] == 0.0
    assert due[-1] < timeline.now_s() + 0.5
    assert [round(b - a, 3) for a, b in itertools.pairwise(due)] == [0.02] * (len(due) - 1)


def test_the_stock_is_bounded(start, monkeypatch):
    """Even if nobody takes anything and the feed would make hours ahead."""
    monkeypatch.setattr(Ahead, "MAX_UNITS", 7)
    ahead, _ = start(FragileFeed(ahead_s=3600.0, refill_s=3600.0))
    time.sleep(0.2)
    assert len(taken(ahead, 0.005)) <= 8


def test_a_broken_feed_is_opened_again_where_it_had_got_to(start):
    """It fails once, is closed and opened, and gives no unit twice."""
    feed = FragileFeed(breaks_at=10)
    ahead, timeline = start(feed)
    due = taken(ahead, 1.5)
    assert (ahead.failures, feed.opened, feed.closed) == (1, 2, 1)
    assert due == sorted(set(due))
    assert due[9] == pytest.approx(0.18)
    assert due[-1] > timeline.now_s()


def test_a_stopped_worker_closes_its_feed():
    """Started or not."""
    for starts in (True, False):
        feed = FragileFeed()
        ahead = Ahead("gate-1", feed, Timeline.starting_now(SystemClock()))
        feed.open(0.0)
        if starts:
            ahead.start()
        ahead.stop()
        ahead.join(5)
        assert feed.closed == 1
