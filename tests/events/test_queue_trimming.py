# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a trim may remove: nothing that any known consumer group has not acknowledged; on each kind of server."""

from dataclasses import replace

import pytest
import redis

from events.queues.port import Mark, Outcome
from events.queues.redis_streams import RedisCaseQueue
from tests.events.queue_kit import message


@pytest.fixture
def desk(each_desk):
    """A queue of each kind, empty."""
    return each_desk


def append_many(desk, seqs, expected):
    return desk.queue.append_many([message(seq) for seq in seqs], Mark("e1", expected))


def acknowledge(desk, group, number):
    """A consumer group reads and acknowledges the next entries."""
    if not hasattr(desk, "client"):
        desk.queue.groups[group] = desk.queue.groups.get(group, 0) + number
        return
    join(desk, group)
    if number:
        desk.client.xack("gridwatch:cases", group, *read(desk, group, number))


def join(desk, group):
    try:
        desk.client.xgroup_create("gridwatch:cases", group, id="0", mkstream=True)
    except redis.ResponseError as error:
        assert str(error).startswith("BUSYGROUP")  # noqa: PT017  any other answer is a failure


def read(desk, group, number):
    ((_, entries),) = desk.client.xreadgroup(group, "one", {"gridwatch:cases": ">"}, count=number)
    return [entry_id for entry_id, _ in entries]


def test_nothing_is_trimmed_while_nobody_is_known_to_read(desk):
    """Without a consumer group it is not known what was read, so everything stays, and the stream is named."""
    append_many(desk, range(1, 11), 0)
    trimmed = desk.queue.trim(3)
    assert (trimmed.removed, trimmed.length) == (0, 10)
    assert len(desk.own()) == 10


def test_only_what_every_group_acknowledged_is_trimmed(desk):
    """The slowest group decides, and is named while it is in the way; other producers' entries obey the same rule."""
    append_many(desk, range(1, 6), 0)
    for number in range(5):
        desk.other_producer_adds({"source": "urn:other", "id": str(number)})
    acknowledge(desk, "fast", 10)
    acknowledge(desk, "slow", 0)
    held = desk.queue.trim(3)
    assert (held.removed, held.length) == (0, 10)
    assert held.held_by.endswith(" slow")
    acknowledge(desk, "slow", 7)
    trimmed = desk.queue.trim(3)
    assert (trimmed.removed, trimmed.length) == (6, 4)
    assert trimmed.held_by.endswith(" slow")
    acknowledge(desk, "slow", 3)
    assert desk.queue.trim(3) == replace(trimmed, removed=1, length=3, held_by="")
    assert [entry["id"] for entry in desk.entries()] == ["2", "3", "4"]
    assert desk.queue.trim(3).removed == 0


def test_the_mark_outlives_what_is_trimmed(desk):
    """After a trim the next message finds its predecessor, though that stands no more in the stream."""
    append_many(desk, [1, 2], 0)
    for number in range(3):
        desk.other_producer_adds({"source": "urn:other", "id": str(number)})
    acknowledge(desk, "g", 5)
    assert desk.queue.trim(1).removed == 4
    assert append_many(desk, [3], 2).outcome is Outcome.APPENDED


def test_what_a_consumer_has_read_and_not_acknowledged_stays(desk):
    """A pending entry, and everything after it, is there for the one that claims it."""
    if not hasattr(desk, "client"):
        pytest.skip("the twin has no entries that were read and not acknowledged")
    append_many(desk, range(1, 11), 0)
    join(desk, "g")
    entries = read(desk, "g", 10)
    desk.client.xack("gridwatch:cases", "g", *entries[:3], *entries[4:])
    trimmed = desk.queue.trim(2)
    assert (trimmed.removed, trimmed.length, trimmed.held_by) == (3, 7, "gridwatch:cases g")
    assert desk.own()[0] == "inc:4"
    desk.client.xack("gridwatch:cases", "g", entries[3])
    assert desk.queue.trim(2).removed == 5


def test_ids_are_compared_as_numbers_of_any_length(desk):
    """An id with fewer digits is the smaller one, and the last digit of a long one counts."""
    if not hasattr(desk, "client"):
        pytest.skip("the twin has no ids")
    ids = ["9-0", "9-9", "9-10", "10-1", "10-18446744073709551613", "10-18446744073709551614", "11-0"]
    for entry_id in ids:
        desk.client.xadd("gridwatch:cases", {"id": entry_id}, id=entry_id)
    join(desk, "g")
    desk.client.xack("gridwatch:cases", "g", *read(desk, "g", 6)[:5])
    for left in (ids[5:], ids[5:]):
        desk.queue.trim(1)
        assert [entry["id"] for entry in desk.entries()] == left


def test_a_long_stream_is_trimmed_a_piece_at_a_time(redis_client):
    """One call removes a bounded number: the script holds up everybody else on the server."""
    queue = RedisCaseQueue(redis_client)
    with redis_client.pipeline() as pipe:
        for number in range(1200):
            pipe.xadd("gridwatch:cases", {"id": str(number)})
        pipe.execute()
    redis_client.xgroup_create("gridwatch:cases", "g", id="$")
    assert [queue.trim(100).removed for _ in range(4)] == [500, 500, 100, 0]


def test_answers_that_were_recorded_are_trimmed_as_well(desk):
    """The answers' stream obeys the same rule: what was read and not acknowledged stays."""
    for number in range(6):
        desk.answer({"id": str(number)})
    assert desk.queue.trim(1).removed == 0
    entries = desk.queue.read_replies(6, 0.01)
    desk.queue.ack([entry.entry_id for entry in entries[:4]])
    assert desk.queue.trim(1).removed == 4
    assert [entry.fields["id"] for entry in desk.second_reader().read_replies(9, 0, pending=True)] == [
        "4",
        "5",
    ]
    desk.answer({"id": "6"})
    assert [entry.fields["id"] for entry in desk.queue.read_replies(9, 0.01)] == ["6"]
