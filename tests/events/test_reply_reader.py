# SPDX-License-Identifier: AGPL-3.0-or-later
"""Answers are acknowledged only after they were recorded, and nothing that came is dropped."""

import hashlib
import threading

import pytest

from events.errors import DecodeError, QueueError, StoreError
from events.journal import canonical
from events.messages import CaseReply
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


@pytest.mark.parametrize("name", ["gridwatch:aside", "=gridwatch:aside"])
def test_no_case_system_can_take_a_name_of_ours(room, desk, name):
    """Whatever a case system calls itself and its answers, what is kept apart afterwards finds its place free."""
    alert = room.opened()
    for number, seq in enumerate(range(20, 40), 1):  # the rows of what comes behind
        fields = room.reply(alert.id, "accepted", number, note=str(seq))
        desk.answer(fields | {"source": name, "id": f"{seq:020d}"})
    for number in range(9):
        desk.answer(room.reply(f"nobody-{number}", "accepted", 1))
        desk.answer({"rubbish": str(number)})
    reader = reader_of(room, desk)
    assert reader.step() == 38
    assert reader.taken["orphan"] == 18
    assert len(room.kinds(alert.id)) == 21


def test_no_answer_can_pass_for_one_that_cannot_be_read(room):
    """Who knows what will come unreadable cannot make it known before."""
    alert, junk = room.opened(), {"rubbish": "1"}
    content = hashlib.sha256(canonical(junk)).hexdigest()
    fields = room.reply(alert.id, "accepted", 1) | {"source": "unreadable", "id": f"1-0:{content}"}
    assert room.book.answer(CaseReply.parse(fields)) == "recorded"
    assert room.book.keep_unreadable(DecodeError("no reply", junk), "1-0") == "orphan"


def test_what_the_store_does_not_take_holds_up_nothing(room, desk, monkeypatch):
    """An answer that breaks a rule of the database is kept as it came, is acknowledged, and the next one is taken."""
    alert = room.opened()
    desk.answer(room.reply(alert.id, "accepted", 1))
    reader = reader_of(room, desk)
    assert reader.step() == 1
    desk.answer(room.reply(alert.id, "accepted", 1))
    desk.answer(room.reply(alert.id, "dispatched", 2))
    monkeypatch.setattr("events.stores.replies.content_of", lambda *_: None)
    monkeypatch.setattr("events.stores.writing.Writer.case_reply_hash", lambda *_: None)
    assert reader.step() == 2
    assert reader.taken == {"recorded": 2, "orphan": 1}
    assert room.reader.get(alert.id).case == "dispatched"
    assert desk.queue.read_replies(9, 0, pending=True) == []


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


def test_what_a_dead_reader_left_is_taken_over(room, redis_client):
    """Answers that a reader took and never acknowledged come to another one of the group, in order, and only once stale."""
    from events.queues.redis_streams import RedisCaseQueue

    alert = room.opened()
    for revision, word in enumerate(("accepted", "dispatched", "signed"), 1):
        redis_client.xadd("gridwatch:case-replies", room.reply(alert.id, word, revision))
    dead, queue = (RedisCaseQueue(redis_client, consumer=name) for name in ("gridwatch-0", "gridwatch-1"))
    assert len(dead.read_replies(2, 0.01)) == 2
    assert [ReplyReader(room.book, queue, 0.01, stale_after_s=600).step() for _ in range(2)] == [1, 0]
    assert room.reader.get(alert.id).case == "signed"
    reader = ReplyReader(room.book, queue, 0.01, stale_after_s=0)
    assert [reader.step() for _ in range(2)] == [2, 0]
    assert (reader.claimed, reader.taken) == (2, {"illegal": 2})  # overtaken: late, and kept
    assert dead.read_replies(9, 0, pending=True) == []


def test_the_look_for_what_was_left_is_repeated(room, clock):
    """A reader looks at once, and again after half the time that makes an answer stale; what it finds goes before new ones."""
    queue = MemoryCaseQueue()
    alert, kept = room.opened(), []
    for word in ("dispatched", "signed"):
        queue.add_reply(room.reply(alert.id, word, len(kept) + 1))
        kept += queue.read_replies(1, 0)
        queue.ack([kept[-1].entry_id])
    reader = ReplyReader(room.book, queue, 0.01, stale_after_s=60, mono_s=clock.mono_s)
    assert reader.step() == 0
    queue.abandoned = [kept[0]]
    clock.advance(29)
    assert reader.step() == 0
    clock.advance(1)
    queue.add_reply(room.reply(alert.id, "handled", 3))
    assert reader.step() == 1
    assert room.reader.get(alert.id).case == "dispatched"
    assert reader.step() == 1
    assert (room.reader.get(alert.id).case, reader.claimed) == ("handled", 1)


def test_two_readers_at_once_double_nothing(room, redis_client):
    """Two readers of one group that each claim from the other record every answer once."""
    from events.queues.redis_streams import RedisCaseQueue

    alerts = [room.opened(f"f{number}", camera=f"c{number}") for number in range(8)]
    for alert in alerts:
        redis_client.xadd("gridwatch:case-replies", room.reply(alert.id, "accepted", 1, case_id=alert.id))
    queues = [RedisCaseQueue(redis_client, consumer=name) for name in ("a", "b")]
    queues[0].read_replies(5, 0.01)  # taken by the first, and slow
    readers = [ReplyReader(room.book, queue, 0.01, stale_after_s=0) for queue in queues]
    for _ in range(3):
        readers[1].step()
        readers[0].step()
    assert [room.kinds(alert.id).count("case") for alert in alerts] == [1] * len(alerts)
    assert redis_client.xpending("gridwatch:case-replies", "gridwatch")["pending"] == 0


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
