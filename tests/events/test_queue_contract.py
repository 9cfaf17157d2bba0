# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every case queue does; the same tests run on the twin in memory, on Valkey and on Redis 6.2 and 7."""

from dataclasses import replace

import pytest
import redis

from events.compose import DATA_MAX_BYTES
from events.errors import QueueError
from events.queues.memory import MemoryCaseQueue
from events.queues.port import Mark, Outcome
from events.queues.redis_streams import RedisCaseQueue
from tests.events.queue_kit import SOURCE, message


@pytest.fixture
def desk(each_desk):
    """A queue of each kind, empty."""
    return each_desk


def append(desk, seq, expected, **more):
    return desk.queue.append(message(seq, **more), Mark("e1", expected))


def test_the_first_message_finds_an_empty_queue(desk):
    """On an empty stream the first message is appended as it is, and the mark stands at its row."""
    result = desk.queue.append(message(3), None)
    assert (result.outcome, result.mark) == (Outcome.APPENDED, Mark("e1", 3))
    assert desk.queue.mark(SOURCE) == Mark("e1", 3)
    assert desk.entries() == [message(3).fields()]


def test_messages_follow_their_predecessor(desk):
    """Each append names the row before it; rows that are no messages leave gaps in the numbers."""
    assert [append(desk, seq, before).outcome for seq, before in ((1, 0), (4, 1), (9, 4))] == ["appended"] * 3
    assert desk.own() == ["inc:1", "inc:4", "inc:9"]


@pytest.mark.parametrize(
    ("seq", "expected", "outcome"),
    [
        (5, 4, Outcome.THERE),  # sent already, by this relay before a crash or by another
        (4, 1, Outcome.THERE),
        (9, 7, Outcome.BEHIND),  # the queue came back older
        (9, 4, Outcome.CONFLICT),  # row 5 stands between: this journal does not know it as a message
    ],
)
def test_what_does_not_fit_changes_nothing(desk, seq, expected, outcome):
    """Any outcome but an append leaves stream and mark alone and tells the mark."""
    append(desk, 4, 0)
    append(desk, 5, 4)
    result = append(desk, seq, expected)
    assert (result.outcome, result.mark) == (outcome, Mark("e1", 5))
    assert desk.own() == ["inc:4", "inc:5"]
    assert desk.queue.mark(SOURCE) == Mark("e1", 5)


def test_another_epoch_is_a_conflict(desk):
    """A mark of another store is never overwritten, not even where the numbers would fit."""
    append(desk, 1, 0)
    result = desk.queue.append(message(2), Mark("e2", 1))
    assert (result.outcome, result.mark) == (Outcome.CONFLICT, Mark("e1", 1))
    desk.set_mark(SOURCE, Mark("nonsense", 0))
    assert append(desk, 2, 1).outcome is Outcome.CONFLICT


def test_an_empty_queue_is_behind(desk):
    """A queue that lost everything asks for everything."""
    result = append(desk, 9, 4)
    assert (result.outcome, result.mark) == (Outcome.BEHIND, None)
    assert desk.entries() == []


def test_a_missing_mark_beside_entries_is_absent(desk):
    """The stream is read from its end for the last own message; a mark that is there is not restored over."""
    append(desk, 1, 0)
    append(desk, 2, 1)
    desk.other_producer_adds({"source": "urn:other", "id": "x"})
    desk.lose_marks()
    assert append(desk, 3, 2).outcome is Outcome.ABSENT
    assert desk.queue.newest_of(SOURCE) == Mark("e1", 2)
    assert desk.queue.newest_of("urn:nobody") is None
    desk.queue.restore_mark(SOURCE, Mark("e1", 2))
    desk.queue.restore_mark(SOURCE, Mark("e1", 77))
    assert append(desk, 3, 2).outcome is Outcome.APPENDED


def test_the_length_counts_every_entry(desk):
    """Whoever added it."""
    assert desk.queue.length() == 0
    append(desk, 1, 0)
    desk.other_producer_adds({"source": "urn:other", "id": "x"})
    assert desk.queue.length() == 2


def test_sources_do_not_disturb_each_other(desk):
    """Each source has a mark of its own in the shared stream."""
    append(desk, 1, 0)
    desk.queue.restore_mark("urn:gridwatch:2", Mark("e1", 0))
    assert append(desk, 1, 0, source="urn:gridwatch:2").outcome is Outcome.APPENDED
    assert append(desk, 2, 1).outcome is Outcome.APPENDED


def append_many(desk, seqs, expected, **more):
    return desk.queue.append_many([message(seq, **more) for seq in seqs], Mark("e1", expected))


def test_a_batch_is_appended_in_order_and_moves_the_mark_with_each(desk):
    """Many messages go in one call; the mark stands at the last, and a repeated call finds them there."""
    result = append_many(desk, [1, 4, 9], 0)
    assert (result.appended, result.outcome, result.mark) == (3, Outcome.APPENDED, Mark("e1", 9))
    assert desk.own() == ["inc:1", "inc:4", "inc:9"]
    assert desk.entries()[1] == message(4).fields()
    again = append_many(desk, [1, 4, 9], 0)
    assert (again.appended, again.outcome, again.mark) == (0, Outcome.THERE, Mark("e1", 9))
    assert len(desk.own()) == 3


@pytest.mark.parametrize(
    ("seqs", "expected", "outcome"),
    [
        ([4, 9], 1, Outcome.THERE),
        ([9, 12], 7, Outcome.BEHIND),
        ([9, 12], 4, Outcome.CONFLICT),
    ],
)
def test_a_batch_that_does_not_fit_changes_nothing(desk, seqs, expected, outcome):
    """What the first of a batch finds is told, and none of it is appended."""
    append_many(desk, [4, 5], 0)
    result = append_many(desk, seqs, expected)
    assert (result.appended, result.outcome, result.mark) == (0, outcome, Mark("e1", 5))
    assert desk.own() == ["inc:4", "inc:5"]


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"x" * (DATA_MAX_BYTES + 1), "65537 bytes"), (b'{"text":"\xff"}', "UTF-8")],
)
def test_a_message_that_no_queue_takes_is_refused_and_those_before_it_stay(desk, data, words):
    """Too large, or no text: the batch stops there with the reason, and the next one goes on behind it."""
    bad = replace(message(3), data=data)
    result = desk.queue.append_many([message(1), message(2), bad, message(5)], Mark("e1", 0))
    assert (result.appended, result.outcome, result.mark) == (2, Outcome.REFUSED, Mark("e1", 2))
    assert words in result.reason
    alone = desk.queue.append_many([bad], Mark("e1", 2))
    assert (alone.appended, alone.outcome, alone.mark) == (0, Outcome.REFUSED, Mark("e1", 2))
    assert append_many(desk, [5], 2).outcome is Outcome.APPENDED
    assert desk.own() == ["inc:1", "inc:2", "inc:5"]


def test_a_mark_is_taken_over_only_from_the_one_that_was_seen(desk):
    """Compare and set: the second of two that saw the same mark changes nothing; an absent mark is nobody's."""
    assert not desk.queue.take_over(SOURCE, Mark("e0", 1), Mark("e1", 1))
    append_many(desk, [1, 2], 0)
    assert not desk.queue.take_over(SOURCE, Mark("e1", 1), Mark("e2", 1))
    assert desk.queue.take_over(SOURCE, Mark("e1", 2), Mark("e2", 2))
    assert not desk.queue.take_over(SOURCE, Mark("e1", 2), Mark("e3", 2))
    assert desk.queue.mark(SOURCE) == Mark("e2", 2)


@pytest.mark.parametrize(
    "kept", [b"nonsense", b"e1:\xd9\xa3", b"e1:-1", b":7", b"\xff:1", b"e1:" + b"9" * 40, b"e1:9 ", b""]
)
def test_whatever_stands_there_as_a_mark_can_be_read_and_replaced(desk, kept):
    """What is no mark is of no epoch, stops appends, and is taken over byte for byte as it was found."""
    append(desk, 1, 0)
    desk.set_mark(SOURCE, Mark.parse(kept))
    found = desk.queue.mark(SOURCE)
    assert (found.epoch != "e1", found.stored) == (True, kept)
    assert append(desk, 2, 1).outcome is not Outcome.APPENDED
    assert not desk.queue.take_over(SOURCE, Mark(found.epoch, found.seq, b"another"), Mark("e1", 1))
    assert desk.queue.take_over(SOURCE, found, Mark("e1", 1))
    assert append(desk, 2, 1).outcome is Outcome.APPENDED


def test_the_tail_is_found_behind_many_foreign_entries(redis_client):
    """The search goes on page by page until the stream's beginning."""
    queue = RedisCaseQueue(redis_client)
    queue.append(message(1), None)
    with redis_client.pipeline() as pipe:
        for number in range(1234):
            pipe.xadd("gridwatch:cases", {"source": "urn:other", "id": str(number)})
        pipe.execute()
    assert queue.newest_of(SOURCE) == Mark("e1", 1)
    assert queue.newest_of("urn:nobody") is None


def test_answers_are_read_once_and_again_until_acknowledged(desk):
    """New answers come once; what was not acknowledged is read again as pending, by the same reader after a restart too."""
    for number in range(3):
        desk.answer({"id": str(number)})
    first = desk.queue.read_replies(2, 0.01)
    assert [entry.fields["id"] for entry in first] == ["0", "1"]
    desk.queue.ack([first[0].entry_id])
    again = desk.second_reader()
    assert [entry.fields["id"] for entry in again.read_replies(9, 0, pending=True)] == ["1"]
    assert [entry.fields["id"] for entry in again.read_replies(9, 0.01)] == ["2"]
    assert desk.queue.read_replies(9, 0.01) == []
    desk.queue.ack([])


def test_bytes_that_are_no_text_are_kept_readable(redis_client):
    """A field that is no UTF-8 comes as escapes; nothing is lost on the way to the record."""
    redis_client.xadd("gridwatch:case-replies", {"data": b"\xff\xfe{", b"\x80": "x"})
    (entry,) = RedisCaseQueue(redis_client).read_replies(1, 0.01)
    assert entry.fields == {"data": "\\xff\\xfe{", "\\x80": "x"}


def test_a_deleted_pending_answer_has_no_fields(redis_client):
    """An answer that was trimmed before it was acknowledged comes back empty."""
    queue = RedisCaseQueue(redis_client)
    entry_id = redis_client.xadd("gridwatch:case-replies", {"id": "1"})
    queue.read_replies(1, 0.01)
    redis_client.xdel("gridwatch:case-replies", entry_id)
    assert [dict(entry.fields) for entry in queue.read_replies(1, 0, pending=True)] == [{}]


def test_a_group_that_got_lost_is_made_again(redis_client):
    """When the server comes back without the consumer group, reading fails once and then begins from the start."""
    queue = RedisCaseQueue(redis_client)
    queue.read_replies(1, 0.01)
    redis_client.flushall()
    redis_client.xadd("gridwatch:case-replies", {"id": "1"})
    with pytest.raises(QueueError):
        queue.read_replies(1, 0.01)
    assert len(queue.read_replies(1, 0.01)) == 1


def test_both_wires_of_the_client_are_understood(valkey, redis_client):
    """RESP2 and RESP3 give the same answers."""
    redis_client.xadd("gridwatch:case-replies", {"id": "1"})
    for protocol in (2, 3):
        with redis.Redis.from_url(valkey, protocol=protocol) as client:
            queue = RedisCaseQueue(client, group=f"g{protocol}")
            assert queue.append(message(1), None).mark == Mark("e1", 1)
            assert [dict(entry.fields) for entry in queue.read_replies(5, 0.01)] == [{"id": "1"}]
            assert [dict(entry.fields) for entry in queue.read_replies(5, 0, pending=True)] == [{"id": "1"}]


def test_a_server_that_is_away_is_a_queue_error(tmp_path):
    """Every call says so, and no password appears."""
    queue = RedisCaseQueue(
        redis.Redis(host="127.0.0.1", port=1, password="s3cret", socket_connect_timeout=0.2, retry=None)
    )
    calls = [
        lambda: queue.append(message(1), None),
        lambda: queue.append_many([message(1)], Mark("e", 0)),
        lambda: queue.take_over(SOURCE, Mark("e", 1), Mark("f", 1)),
        lambda: queue.trim(1),
        queue.length,
        lambda: queue.mark(SOURCE),
        lambda: queue.newest_of(SOURCE),
        lambda: queue.restore_mark(SOURCE, Mark("e", 1)),
        lambda: queue.read_replies(1, 0.01),
        lambda: queue.ack(["1-0"]),
    ]
    for call in calls:
        with pytest.raises(QueueError) as raised:
            call()
        assert "s3cret" not in str(raised.value)


def test_the_twin_can_be_away_too():
    """The twin raises what the real one raises."""
    queue = MemoryCaseQueue()
    queue.away = True
    with pytest.raises(QueueError):
        queue.mark(SOURCE)
