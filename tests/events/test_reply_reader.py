# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers are acknowledged only after they were recorded, and nothing that came is dropped."""

import threading

import pytest

from events.errors import QueueError, StoreError
from events.queues.memory import MemoryCaseQueue
from events.replies import ReplyReader
from gridwatch.core.finding import Stage
from gridwatch.core.zone import Kind


def reader_of(room, desk):
    return ReplyReader(room.book, desk.queue, 0.01)


def test_answers_are_recorded_and_acknowledged(room, desk):
    """Good answers, duplicates, orphans and rubbish are all taken, each in its own way."""
    alert = room.opened()
    desk.answer(room.reply(alert.id, "reported", 1))
    desk.answer(room.reply(alert.id, "reported", 1))
    desk.answer(room.reply("0199", "accepted", 1, case_id="AJ-7"))
    desk.answer({"rubbish": "1"})
    desk.answer(room.reply(alert.id, "accepted", 2))
    reader = reader_of(room, desk)
    assert reader.step() == 5
    assert reader.step() == 0
    assert reader.taken == {"recorded": 2, "duplicate": 1, "orphan": 2}
    assert room.reader.get(alert.id).case == "accepted"
    assert desk.queue.read_replies(9, 0, pending=True) == []


def test_a_crash_before_the_acknowledgement_doubles_nothing(room, desk, monkeypatch):
    """What was recorded but not acknowledged is read again and known."""
    alert = room.opened()
    desk.answer(room.reply(alert.id, "accepted", 1))

    def crash(_ids):
        raise QueueError("gone")

    reader = reader_of(room, desk)
    with monkeypatch.context() as patch:
        patch.setattr(desk.queue, "ack", crash)
        with pytest.raises(QueueError):
            reader.step()
    assert reader_of(room, desk).step() == 1
    assert room.kinds(alert.id) == ["opened", "case"]


def test_while_the_store_is_away_nothing_is_acknowledged(room, desk, monkeypatch):
    """An answer that could not be recorded is taken again by the same reader when the store is back."""
    alert = room.opened()
    desk.answer(room.reply(alert.id, "accepted", 1))
    reader = reader_of(room, desk)

    def away(_reply):
        raise StoreError("away")

    with monkeypatch.context() as patch:
        patch.setattr(room.book, "answer", away)
        with pytest.raises(StoreError):
            reader.step()
    assert room.reader.get(alert.id).case == "none"
    assert reader.step() == 1
    assert room.reader.get(alert.id).case == "accepted"


ODD = {
    '{"case_id":"AJ-1","case_revision":1,"at":"0001-01-01T00:00:00+08:00"}': "recorded",
    '{"case_id":"AJ-1","case_revision":1,"note":"\\ud800","unit":{"name":"\\udfff"}}': "recorded",
    '{"case_id":"\\ud800\\u0000","case_revision":1}': "recorded",
    '{"incident_id":"\\ud800","case_id":"AJ-1","case_revision":1}': "orphan",
    '{"case_id":"AJ-1","case_revision":1,"reason":"\\u0000","\\ud800":{"\\ud801":["\\ud802"]}}': "recorded",
    '{"case_id":"AJ-1","case_revision":1e999}': "orphan",
    '{"case_id":"AJ-1","case_revision":' + "9" * 5_000 + "}": "orphan",
}


@pytest.mark.parametrize(("data", "outcome"), ODD.items())
def test_an_odd_answer_holds_up_none_behind_it(room, desk, data, outcome):
    """Whatever one answer holds, it is taken or kept as it came, and the next one is taken in the same step."""
    alert, other = room.opened(), room.opened("f2", kind=Kind.SMOKE, subtype="smoke")
    odd = room.reply(alert.id, "accepted", 1) | {"data": data, "time": "nonsense"}
    if "incident_id" in data:
        del odd["subject"]
    desk.answer(odd)
    desk.answer(room.reply(other.id, "accepted", 1, case_id="AJ-2"))
    reader = reader_of(room, desk)
    assert reader.step() == 2
    assert reader.step() == 0
    assert reader.taken == {"recorded": 2} if outcome == "recorded" else {"orphan": 1, "recorded": 1}
    assert room.reader.get(alert.id).case == ("accepted" if outcome == "recorded" else "none")
    assert room.reader.get(other.id).case == "accepted"
    kept = [row.payload["reply"]["data"] for row in room.reader.rows_after(2, 10)]
    assert kept[0] == data
    assert room.says(Stage.ENDED) is not None


def test_texts_that_nothing_can_store_hold_up_nothing(room):
    """Lone surrogates and NULs in the fields themselves, which a server never sends, are escaped and kept."""
    queue = MemoryCaseQueue()
    alert = room.opened()
    fields = room.reply(alert.id, "accepted", 1)
    queue.add_reply(fields | {"id": "\ud800\0", "source": "\udfff", "extra": "\ud800"})
    queue.add_reply({"type": "\ud800", "subject": "\ud800\0", "source": "\ud800"})
    reader = ReplyReader(room.book, queue, 0.01)
    assert reader.step() == 2
    assert reader.taken == {"recorded": 1, "orphan": 1}


def test_an_answer_that_breaks_the_book_is_kept_apart(room, desk, monkeypatch):
    """A fault that one answer provokes costs that answer its effect, not those behind it theirs."""
    alert = room.opened()
    desk.answer(room.reply(alert.id, "accepted", 1))
    desk.answer(room.reply(alert.id, "dispatched", 2))
    answer = room.book.answer

    def breaks(reply):
        if reply.word == "accepted":
            raise OverflowError("\ud800")
        return answer(reply)

    monkeypatch.setattr(room.book, "answer", breaks)
    reader = reader_of(room, desk)
    assert reader.step() == 2
    assert reader.taken == {"orphan": 1, "recorded": 1}
    assert room.reader.get(alert.id).case == "dispatched"
    (kept,) = [row for row in room.reader.rows_after(0, 9) if row.kind == "orphan"]
    assert "OverflowError" in kept.payload["problem"]


def test_an_answer_that_was_trimmed_is_let_go(room, redis_client):
    """A pending entry without fields is acknowledged: nothing is left of it."""
    from events.queues.redis_streams import RedisCaseQueue

    queue = RedisCaseQueue(redis_client)
    entry = redis_client.xadd("gridwatch:case-replies", {"id": "1"})
    queue.read_replies(1, 0.01)
    redis_client.xdel("gridwatch:case-replies", entry)
    reader = ReplyReader(room.book, queue, 0.01)
    assert reader.step() == 1
    assert reader.taken == {"gone": 1}
    assert reader.step() == 0


def test_the_thread_outlives_a_queue_that_is_away(room):
    """Running, it goes on by itself when the queue is back, and ends when told."""
    queue = MemoryCaseQueue()
    queue.away = True
    alert = room.opened()
    reader, stop = ReplyReader(room.book, queue, 0.01), threading.Event()
    thread = threading.Thread(target=reader.run, args=(stop,))
    thread.start()
    while not reader.problem:
        stop.wait(0.01)
    queue.away = False
    queue.add_reply(room.reply(alert.id, "accepted", 1))
    while room.reader.get(alert.id).case != "accepted":
        stop.wait(0.01)
    stop.set()
    thread.join(5)
    assert not thread.is_alive()
