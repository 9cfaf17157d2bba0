# SPDX-License-Identifier: AGPL-3.0-or-later
"""Two relays, other producers, consumers of different pace and trimming, all at once on one real server."""

import threading
import time

import pytest

from events.queues.redis_streams import RedisCaseQueue
from events.reading import AlertReader
from events.relay import Relay
from gridwatch.core.finding import Stage

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)

INCIDENTS = 25
STREAM = "gridwatch:cases"


class Consumer:
    """A consumer group that reads a few entries at a time and acknowledges each after it noted it."""

    def __init__(self, client, name, at_a_time):
        client.xgroup_create(STREAM, name, id="0", mkstream=True)
        self._client, self._name, self._number = client, name, at_a_time
        self.ids = []

    def step(self):
        for _, entries in self._client.xreadgroup(self._name, "one", {STREAM: ">"}, count=self._number):
            for entry_id, fields in entries:
                self.ids.append(fields[b"id"].decode())
                self._client.xack(STREAM, self._name, entry_id)


class Crowd:
    """Threads that each repeat their steps until told, and the failures that they had."""

    def __init__(self):
        self.stop, self.failures = threading.Event(), []
        self._threads = []

    def start(self, *steps):
        thread = threading.Thread(target=self._run, args=steps, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _run(self, *steps):
        try:
            while not self.stop.is_set():
                for step in steps:
                    step()
        except Exception as error:  # noqa: BLE001  whatever it is, the test must fail with it
            self.failures.append(error)

    def end_when(self, condition):
        until = time.monotonic() + 30
        while not (self.failures or condition()) and time.monotonic() < until:
            self.stop.wait(0.01)
        self.stop.set()
        for thread in self._threads:
            thread.join()


def test_every_consumer_gets_everything_once_and_in_order(room, redis_client):
    """Whatever is trimmed meanwhile, no group misses an entry, ours or another producer's; at the end the stream is short."""
    quick, late = consumers = Consumer(redis_client, "quick", 50), Consumer(redis_client, "late", 3)
    queues = [RedisCaseQueue(redis_client) for _ in range(2)]
    relays = [Relay(AlertReader(room.store), queue, room.clock) for queue in queues]
    crowd = Crowd()
    crowd.start(relays[0].step, lambda: queues[0].trim(5))
    crowd.start(relays[1].step)
    crowd.start(quick.step)
    for number in range(INCIDENTS):
        room.opened(f"f{number}")
        redis_client.xadd(STREAM, {"source": "urn:other", "id": f"other:{number}"})
        room.says(Stage.ENDED, f"f{number}")
        room.clock.advance(3600)
    crowd.start(late.step)
    crowd.end_when(lambda: all(len(one.ids) >= 3 * INCIDENTS for one in consumers))
    assert crowd.failures == []
    ours = [message.id for message in room.reader.messages_after(0, 1000)]
    foreign = [f"other:{number}" for number in range(INCIDENTS)]
    for consumer in consumers:
        assert [one for one in consumer.ids if one.startswith("other:")] == foreign
        assert [one for one in consumer.ids if not one.startswith("other:")] == ours
    while queues[0].trim(5).removed:
        pass
    assert redis_client.xlen(STREAM) == 5
