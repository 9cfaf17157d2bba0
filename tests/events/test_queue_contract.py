# SPDX-License-Identifier: AGPL-3.0-or-later
"""What every case queue does; the same tests run on the twin in memory and on a real Valkey."""

import pytest

from events.errors import QueueError
from events.messages import CaseMessage
from events.queues.memory import MemoryCaseQueue
from events.queues.port import Mark, Outcome
from events.queues.redis_streams import RedisCaseQueue

SOURCE = "urn:gridwatch:51011700005020000001"


def message(seq, *, source=SOURCE, epoch="e1"):
    return CaseMessage(
        id=f"inc:{seq}",
        source=source,
        type="cn.gridwatch.incident.updated.v1",
        subject="inc",
        time="2026-11-26T09:00:00.000+08:00",
        previous=seq - 1,
        journalepoch=epoch,
        journalseq=seq,
        journalhash="0" * 64,
        data='{"text":"疑似烟雾"}'.encode(),
    )


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


def test_sources_do_not_disturb_each_other(desk):
    """Each source has a mark of its own in the shared stream."""
    append(desk, 1, 0)
    desk.queue.restore_mark("urn:gridwatch:2", Mark("e1", 0))
    assert append(desk, 1, 0, source="urn:gridwatch:2").outcome is Outcome.APPENDED
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
    import redis

    redis_client.xadd("gridwatch:case-replies", {"id": "1"})
    for protocol in (2, 3):
        with redis.Redis.from_url(valkey, protocol=protocol) as client:
            queue = RedisCaseQueue(client, group=f"g{protocol}")
            assert queue.append(message(1), None).mark == Mark("e1", 1)
            assert [dict(entry.fields) for entry in queue.read_replies(5, 0.01)] == [{"id": "1"}]
            assert [dict(entry.fields) for entry in queue.read_replies(5, 0, pending=True)] == [{"id": "1"}]


def test_a_server_that_is_away_is_a_queue_error(tmp_path):
    """Every call says so, and no password appears."""
    import redis

    queue = RedisCaseQueue(
        redis.Redis(host="127.0.0.1", port=1, password="s3cret", socket_connect_timeout=0.2, retry=None)
    )
    calls = [
        lambda: queue.append(message(1), None),
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
