# SPDX-License-Identifier: AGPL-3.0-or-later
"""The relay: every message once and in order, whatever dies, restarts, or comes back older."""

import random
import threading

import pytest
import redis

from events.alerts import Decision
from events.errors import EventsError, MarkConflict, QueueError, StoreError
from events.messages import CaseReply
from events.queues.embedded import EmbeddedServer
from events.queues.memory import MemoryCaseQueue
from events.queues.port import Mark
from events.queues.redis_streams import RedisCaseQueue
from events.reading import AlertReader
from events.relay import Relay, RelayState
from events.replies import ReplyReader
from gridwatch.core.finding import Stage


def relay_of(room, queue):
    return Relay(room.reader, queue, room.clock)


def wanted(room):
    return [message.id for message in room.reader.messages_after(0, 1000)]


def fill(room, number, start=0):
    """Record incidents with all kinds of rows between the messages."""
    for one in range(start, start + number):
        alert = room.opened(f"f{one}")
        room.book.answer(CaseReply.parse(room.reply(alert.id, "accepted", 1, case_id=f"AJ-{one}")))
        room.says(Stage.ENDED, f"f{one}")
        room.clock.advance(3600)


def test_everything_due_is_sent_in_order_once(room, desk):
    """All messages of the journal stand in the stream in journal order; another step sends nothing."""
    fill(room, 3)
    relay = relay_of(room, desk.queue)
    assert relay.backlog()[0] == 6
    assert relay.step() == 6
    assert relay.step() == 0
    assert desk.own() == wanted(room)
    assert relay.backlog() == (0, 0.0)
    room.opened("late")
    assert relay.step() == 1


def test_a_relay_that_died_after_an_append_doubles_nothing(room, desk):
    """A new relay begins at the mark: the message whose answer got lost is not sent again."""
    fill(room, 2)
    first = room.reader.messages_after(0, 3)
    at = 0
    for message in first:  # appended, and then the process is gone before it could note anything
        desk.queue.append(message, Mark(room.store.epoch, at))
        at = message.journalseq
    room.again()
    assert relay_of(room, desk.queue).step() == 1
    assert desk.own() == wanted(room)


class Lossy:
    """A queue whose answers get lost now and then, before or after the append took effect."""

    def __init__(self, queue, seed):
        self._queue, self._random = queue, random.Random(seed)
        self.fates, self.asked, self.appends = [], 0, 0

    def __getattr__(self, name):
        return getattr(self._queue, name)

    def mark(self, source):
        self.asked += 1
        return self._queue.mark(source)

    def append_many(self, messages, expected):
        self.appends += 1
        fate = self.fates.pop(0) if self.fates else self._random.random()
        if fate < 0.3:
            raise QueueError("lost before")
        done = messages if fate > 0.5 else messages[: len(messages) // 2 + 1]  # or it died in the middle
        result = self._queue.append_many(done, expected)
        if fate < 0.6:
            raise QueueError("lost after")
        return result


@pytest.mark.parametrize("seed", range(3))
def test_lost_answers_double_and_lose_nothing(room, desk, seed):
    """However often an answer is lost, before or after its effect, each message is there once, in order."""
    fill(room, 4)
    relay = relay_of(room, Lossy(desk.queue, seed))
    for _ in range(200):
        try:
            if relay.step() == 0:
                break
        except QueueError:
            continue
    assert desk.own() == wanted(room)


def test_two_relays_at_once_do_no_harm(room, desk):
    """Two relays over one journal, while it is being written: each message once, in order."""
    queues = [desk.queue, desk.second_reader()]
    stop, failures = threading.Event(), []

    def run(queue):
        relay = Relay(AlertReader(room.store), queue, room.clock)
        while not stop.is_set():
            try:
                relay.step()
            except EventsError as error:
                failures.append(error)
                return

    threads = [threading.Thread(target=run, args=(queue,)) for queue in queues]
    for thread in threads:
        thread.start()
    fill(room, 12)
    while len(desk.own()) < 24 and not failures:
        stop.wait(0.01)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    assert desk.own() == wanted(room)


@pytest.mark.parametrize("keep", [0, 1, 4])
def test_a_queue_that_came_back_older_gets_its_tail_again(room, desk, keep):
    """The mark went back with the stream: everything after it is sent again, in order, with the same bytes."""
    fill(room, 3)
    relay = relay_of(room, desk.queue)
    relay.step()
    before = desk.entries()
    desk.lose_tail(keep)
    room.opened("after")
    assert relay.step() == 7 - keep
    assert desk.own() == wanted(room)
    assert desk.entries()[:6] == before


def test_a_loss_is_healed_while_nothing_is_due(room, desk):
    """The mark is asked now and then: a queue that came back older, or of another store, shows without a new message."""
    fill(room, 2)
    relay = relay_of(room, desk.queue)
    relay.step()
    desk.lose_tail(1)
    room.clock.advance(2)
    assert relay.step() == 3
    assert desk.own() == wanted(room)
    desk.set_mark(room.policy.source, Mark("another", 1))
    assert relay.step() == 0
    room.clock.advance(2)
    with pytest.raises(MarkConflict):
        relay.step()


def test_after_trouble_the_mark_is_asked_at_once(room, desk):
    """A queue that was away and came back older is healed by the next step, though its last place was known."""
    fill(room, 2)
    lossy = Lossy(desk.queue, 0)
    relay = relay_of(room, lossy)
    lossy.fates = [1.0]
    relay.step()
    room.opened("during")
    lossy.fates = [0.1]
    with pytest.raises(QueueError):
        relay.step()
    desk.lose_tail(2)
    lossy.fates = [1.0]
    assert relay.step() == 3
    assert desk.own() == wanted(room)
    assert (lossy.asked, lossy.appends) == (2, 3)


def test_a_lost_mark_is_read_from_the_stream(room, desk):
    """Without a mark the stream's own last message says where to go on; others' entries do not."""
    fill(room, 2)
    relay_of(room, desk.queue).step()
    desk.other_producer_adds({"id": "other:1", "source": "urn:other", "journalseq": "999"})
    desk.lose_marks()
    room.opened("after")
    assert relay_of(room, desk.queue).step() == 1
    assert desk.own() == wanted(room)


def test_a_shared_stream_without_us_is_begun(room, desk):
    """The first run on a stream that others filled sends everything once."""
    desk.other_producer_adds({"id": "other:1", "source": "urn:other"})
    fill(room, 2)
    relay = relay_of(room, desk.queue)
    assert relay.step() == 4
    assert relay.step() == 0
    assert desk.own() == wanted(room)


@pytest.mark.parametrize(
    ("mark", "words"),
    [(("another", 1), "epoch"), ((None, 99), "lost its end"), ((None, 2), "no message"), (("", 0), "epoch")],
)
def test_a_contradiction_stops_the_relay_and_sends_nothing(room, desk, mark, words):
    """A mark of another store, past the journal's end, or at a row that is no message is raised, and nothing is sent."""
    fill(room, 1)
    epoch, seq = mark
    desk.set_mark(room.policy.source, Mark(room.store.epoch if epoch is None else epoch, seq))
    relay = relay_of(room, desk.queue)
    for _ in range(2):
        with pytest.raises(MarkConflict, match=words) as raised:
            relay.step()
        assert raised.value.mark.endswith(f":{seq}")
    assert desk.own() == []


def test_a_mark_that_moves_to_a_strange_row_is_noticed(room, desk):
    """While running, a mark that stands between two messages is raised, now and at every later try."""
    fill(room, 1)
    relay = relay_of(room, desk.queue)
    relay.step()
    fill(room, 1, start=1)
    desk.set_mark(room.policy.source, Mark(room.store.epoch, 5))
    for _ in range(2):
        with pytest.raises(MarkConflict):
            relay.step()
    assert len(desk.own()) == 2


def test_a_tail_of_another_epoch_is_a_contradiction(room, desk):
    """Our own entries of another store in the stream are not taken for ours."""
    fill(room, 1)
    source = room.policy.source
    desk.other_producer_adds({"id": "x:1", "source": source, "journalepoch": "another", "journalseq": "1"})
    with pytest.raises(MarkConflict, match="epoch"):
        relay_of(room, desk.queue).step()
    assert desk.own() == ["x:1"]


def test_detection_goes_on_while_the_queue_is_away(room):
    """Without a queue everything is recorded; the backlog counts and its oldest message grows older."""
    queue = MemoryCaseQueue()
    queue.away = True
    relay = relay_of(room, queue)
    alert = room.opened()
    room.clock.advance(90)
    with pytest.raises(QueueError):
        relay.step()
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-1")
    assert relay.backlog() == (2, 90.0)
    queue.away = False
    assert relay.step() == 2
    assert relay.backlog() == (0, 0.0)


def test_the_backlog_survives_a_store_that_is_away(room, monkeypatch):
    """What was counted last grows older while the store does not answer."""
    relay = relay_of(room, MemoryCaseQueue())
    room.opened()
    assert relay.backlog()[0] == 1

    def away(_seq):
        raise StoreError("away")

    monkeypatch.setattr(relay._outbox, "waiting_after", away)
    room.clock.advance(5)
    assert relay.backlog() == (1, 5.0)


def test_the_thread_outlives_trouble_and_says_how_it_stands(room):
    """Running, it is away while the queue is, up again by itself, and ends when told."""
    queue = MemoryCaseQueue()
    queue.away = True
    room.opened()
    relay, stop = relay_of(room, queue), threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    wait_for(lambda: relay.state is RelayState.AWAY)
    assert "away" in relay.problem
    queue.away = False
    wait_for(lambda: relay.state is RelayState.UP and len(queue.entries) == 1)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


def test_the_thread_names_a_conflict(room):
    """Running into a contradiction it says conflict and sends nothing."""
    queue = MemoryCaseQueue()
    queue.marks[room.policy.source] = Mark("another", 1)
    room.opened()
    relay, stop = relay_of(room, queue), threading.Event()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    wait_for(lambda: relay.state is RelayState.CONFLICT)
    stop.set()
    thread.join(5)
    assert queue.entries == []


def wait_for(condition, timeout_s=10):
    ready = threading.Event()
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return
        ready.wait(0.01)
    raise AssertionError("it did not happen in time")


def test_a_killed_server_is_healed_and_answers_still_come(room, tmp_path):
    """A real server is killed and started again on its files while relay and reader run: nothing is lost or doubled."""
    server = EmbeddedServer()
    url = server.start(tmp_path / "queue")
    client = redis.Redis.from_url(url, socket_timeout=2)
    queue, stop = RedisCaseQueue(client), threading.Event()
    relay, replies = relay_of(room, queue), ReplyReader(room.book, RedisCaseQueue(client), 0.05)
    threads = [threading.Thread(target=part.run, args=(stop,)) for part in (relay, replies)]
    for thread in threads:
        thread.start()
    fill(room, 2)
    wait_for(lambda: client.xlen("gridwatch:cases") == 4)
    server._process.kill()
    server._process.wait()
    alert = room.opened("while-away")
    wait_for(lambda: relay.state is RelayState.AWAY)
    restarted = EmbeddedServer()
    assert restarted.start(tmp_path / "queue") == url
    wait_for(lambda: relay.state is RelayState.UP and relay.backlog()[0] == 0)
    client.xadd("gridwatch:case-replies", room.reply(alert.id, "accepted", 1, case_id="AJ-9"))
    wait_for(lambda: room.reader.get(alert.id).case == "accepted")
    stop.set()
    for thread in threads:
        thread.join(5)
    sent = [fields[b"id"].decode() for _, fields in client.xrange("gridwatch:cases")]
    assert sent == wanted(room)
    client.close()
    restarted.stop()
