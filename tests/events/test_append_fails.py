# SPDX-License-Identifier: AGPL-3.0-or-later
"""An append that fails inside the server: the mark says what is in the stream, never what was meant to be."""

import pytest

from events.errors import QueueError
from events.queues.port import Mark
from events.queues.redis_streams import RedisCaseQueue
from events.relay import Relay

LARGEST_ID = f"{2**64 - 1}-{2**64 - 1}"
pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)


def test_a_mark_never_names_a_message_that_the_stream_refused(room, redis_client):
    """Somebody else's entry has the last id that there can be: nothing is appended, and the mark stays."""
    queue = RedisCaseQueue(redis_client)
    relay = Relay(room.reader, queue, room.clock)
    room.opened("before")
    assert relay.step() == 1
    redis_client.xadd("gridwatch:cases", {"source": "urn:other"}, id=LARGEST_ID)
    room.opened("after", camera="another")
    with pytest.raises(QueueError, match="exhausted"):
        relay.step()
    assert queue.mark(room.policy.source) == Mark(room.store.epoch, 1)
    redis_client.xdel("gridwatch:cases", LARGEST_ID)
    redis_client.execute_command("XSETID", "gridwatch:cases", "9999999999999-0")
    assert relay.step() == 1
    assert redis_client.xlen("gridwatch:cases") == 2
