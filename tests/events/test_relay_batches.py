# SPDX-License-Identifier: AGPL-3.0-or-later
"""How the relay packs what it sends, trims what was read, and says how much waits."""

import pytest
import structlog

from events.alerts import Decision
from events.errors import QueueError
from events.queues.memory import MemoryCaseQueue
from events.queues.port import Outcome
from events.relay import BATCH_MAX_BYTES, TRIM_EVERY_S, Relay

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)


class Watched(MemoryCaseQueue):
    """A queue that notes the batches that it got; `failing` calls are lost before they have any effect."""

    def __init__(self):
        super().__init__()
        self.batches, self.failing = [], 0

    def append_many(self, messages, expected):
        if self.failing:
            self.failing -= 1
            raise QueueError("timed out")
        self.batches.append(len(messages))
        return super().append_many(messages, expected)


def wanted(room):
    return [message.id for message in room.reader.messages_after(0, 1000)]


def sent(queue):
    return [entry["id"] for entry in queue.entries]


def confirm_again_and_again(room, number):
    """Many messages of one incident, which is quick to record."""
    alert = room.opened()
    for one in range(number - 1):
        decision = (Decision.CONFIRMED, Decision.DISMISSED)[one % 2]
        room.book.decide(alert.id, decision, by="op", reason="false_alarm", note=str(one))


def test_many_messages_go_in_few_calls(room):
    """A page leaves in one append."""
    confirm_again_and_again(room, 130)
    queue = Watched()
    relay = Relay(room.reader, queue, room.clock)
    assert [relay.step(), relay.step(), relay.step()] == [100, 30, 0]
    assert queue.batches == [100, 30]
    assert sent(queue) == wanted(room)
    assert relay.counts.appended == 130


def test_large_messages_go_in_more_calls(room, monkeypatch):
    """One append holds a bounded number of bytes, and always at least one message."""
    confirm_again_and_again(room, 6)
    sizes = [len(message.data) for message in room.reader.messages_after(0, 10)]
    queue = Watched()
    monkeypatch.setattr("events.relay.BATCH_MAX_BYTES", sum(sizes[:2]) + 1)
    Relay(room.reader, queue, room.clock).step()
    assert queue.batches[0] == 2
    assert sum(queue.batches) == 6
    monkeypatch.setattr("events.relay.BATCH_MAX_BYTES", 1)
    one_by_one = Watched()
    Relay(room.reader, one_by_one, room.clock).step()
    assert one_by_one.batches == [1] * 6
    assert sent(queue) == sent(one_by_one) == wanted(room)
    assert BATCH_MAX_BYTES < 1 << 20  # the smallest limit of a request that a server can be given


def test_after_trouble_the_pieces_are_smaller_and_grow_again(room):
    """What is too much for a slow line in one piece passes in smaller ones."""
    confirm_again_and_again(room, 100)
    queue = Watched()
    queue.failing = 2
    relay = Relay(room.reader, queue, room.clock)
    for _ in range(2):
        with pytest.raises(QueueError):
            relay.step()
    assert relay.step() == 100
    assert queue.batches == [6, 12, 24, 48, 10]
    assert sent(queue) == wanted(room)


def test_a_batch_that_ended_in_the_middle_is_gone_on_with(room):
    """Another relay was there first with a part of the page: the rest follows, once."""
    confirm_again_and_again(room, 8)
    queue = Watched()
    first = Relay(room.reader, queue, room.clock)
    first._most = 3
    relay = Relay(room.reader, queue, room.clock)
    relay._place()
    queue.append_many(room.reader.messages_after(0, 3), first._expected(room.reader.newest_message()))
    assert relay.step() == 5
    assert sent(queue) == wanted(room)


def test_the_backlog_is_right_before_during_and_after(room):
    """It counts what the queue has not got, and its age is that of the oldest of them."""
    queue = Watched()
    relay = Relay(room.reader, queue, room.clock)
    assert relay.backlog() == (0, 0.0)
    room.opened("a")
    relay.step()
    queue.away = True
    room.clock.advance(10)
    room.opened("b", camera="b")
    room.clock.advance(20)
    room.opened("c", camera="c")
    with pytest.raises(QueueError):
        relay.step()
    assert relay.backlog() == (2, 20.0)
    queue.away = False
    relay.step()
    assert relay.backlog() == (0, 0.0)


def test_the_backlog_is_counted_up_to_a_bound(room, monkeypatch):
    """However much waits, a scrape costs little: the bound means that many or more."""
    monkeypatch.setattr("events.outbox.WAITING_MOST", 3)
    confirm_again_and_again(room, 5)
    queue = Watched()
    relay = Relay(room.reader, queue, room.clock)
    assert relay.backlog()[0] == 3
    relay.step()
    assert relay.backlog() == (0, 0.0)


def test_a_stream_that_nobody_shortens_is_measured_and_warned_of(room, monkeypatch):
    """Without a bound its length is asked once a minute, and the log says once that it has grown long."""
    monkeypatch.setattr("events.relay.LONG_STREAM", 4)
    queue = Watched()
    relay = Relay(room.reader, queue, room.clock)
    assert relay.stream_length is None
    confirm_again_and_again(room, 4)
    with structlog.testing.capture_logs() as logs:
        relay.step()
        assert (relay.stream_length, relay.trimmed) == (4, None)
        room.opened("b", camera="b")
        relay.step()
        assert relay.stream_length == 4  # it is not time yet
        room.clock.advance(TRIM_EVERY_S)
        relay.step()
    assert relay.stream_length == len(queue.entries) == 5
    warned = [one for one in logs if one["event"] == "queue_stream_long"]
    assert len(warned) == 1
    assert "queue.max_length" in warned[0]["reason"]


def test_the_streams_are_trimmed_now_and_then(room):
    """With a bound, what every group has acknowledged goes, a piece at a time; without one nothing does."""
    confirm_again_and_again(room, 10)
    queue = Watched()
    queue.groups["g"] = 8
    relay = Relay(room.reader, queue, room.clock, keep=4)
    relay.step()
    assert len(queue.entries) == 4
    assert relay.counts.trimmed == 6
    relay.step()
    queue.groups["g"] = 10
    room.opened("more", camera="m")
    relay.step()
    assert len(queue.entries) == 5  # it is not time yet
    room.clock.advance(TRIM_EVERY_S)
    relay.step()
    assert len(queue.entries) == 4
    assert relay.trimmed.length == 4
    Relay(room.reader, queue, room.clock).step()
    assert len(queue.entries) == 4


def test_a_trim_that_fails_stops_no_message(room):
    """A user who may append and not trim: everything is sent, and the trouble is tried again later only."""

    class Strict(Watched):
        trims = 0

        def trim(self, keep):
            self.trims += 1
            raise QueueError("no permission")

    queue = Strict()
    relay = Relay(room.reader, queue, room.clock, keep=4)
    for camera in ("a", "b", "c"):
        room.opened(camera, camera=camera)
        assert relay.step() == 1
    assert queue.trims == 1
    room.clock.advance(TRIM_EVERY_S)
    relay.step()
    assert queue.trims == 2


def test_a_message_that_another_relay_sent_and_this_one_gave_up_is_no_conflict(room):
    """The mark stands at a message that this relay left out: it goes on behind it."""
    confirm_again_and_again(room, 3)

    class Picky(Watched):
        def append_many(self, messages, expected):
            if messages[0].id.endswith(":2"):
                super().append_many(messages[:1], expected)  # as the other relay does it, in the same moment
                return self.refused
            result = super().append_many(messages[:1], expected)
            assert result.outcome in (Outcome.APPENDED, Outcome.CONFLICT)
            return result

        @property
        def refused(self):
            from events.queues.port import BatchResult

            return BatchResult(0, Outcome.REFUSED, None, "too large for this one")

    queue = Picky()
    relay = Relay(room.reader, queue, room.clock)
    while relay.backlog()[0]:
        relay.step()
    assert sent(queue) == wanted(room)
    assert relay.counts.buried == 1
