# SPDX-License-Identifier: AGPL-3.0-or-later
"""The relay after its source was renamed in the configuration: two marks, one journal, nothing lost or held up."""

from sqlalchemy import update

from events import relay as relay_module
from events.messages import CaseReply
from events.outbox import Outbox
from events.relay import Relay
from events.stores.schema import JOURNAL
from gridwatch.core.finding import Stage


def relay_of(room, queue):
    return Relay(room.reader, queue, room.clock)


def wanted(room):
    return [message.id for message in room.reader.messages_after(0, 1000)]


def fill(room, number, start=0):
    """Record incidents of two messages each, with a row between them that is none."""
    for one in range(start, start + number):
        alert = room.opened(f"f{one}")
        room.book.answer(CaseReply.parse(room.reply(alert.id, "accepted", 1, case_id=f"AJ-{one}")))
        room.says(Stage.ENDED, f"f{one}")
        room.clock.advance(3600)


def rename(room, kit):
    room.policy = kit.replace(room.policy, source_id="51011700005020000002")
    room.again()


class Counted:
    """A queue that counts what it is asked; each call takes its time."""

    def __init__(self, queue, clock, call_s=0.0):
        self._queue, self._clock, self._call_s = queue, clock, call_s
        self.appends = 0

    def __getattr__(self, name):
        return getattr(self._queue, name)

    def append_many(self, messages, expected):
        self.appends += 1
        self._clock.advance(self._call_s)
        return self._queue.append_many(messages, expected)


def test_nothing_is_sent_twice_when_the_source_is_renamed(room, desk, kit):
    """A renamed source has a mark of its own; what the old name sent stays sent."""
    fill(room, 2)
    relay_of(room, desk.queue).step()
    rename(room, kit)
    fill(room, 2, start=2)
    relay = relay_of(room, desk.queue)
    relay.step()
    relay.step()
    assert desk.own() == wanted(room)
    assert {entry["source"][-1] for entry in desk.entries()} == {"1", "2"}


def test_a_renamed_source_gets_past_many_old_messages(room, desk, kit, monkeypatch):
    """However slow the queue and however often its mark is asked, what the old name sent does not hold up the new one."""
    monkeypatch.setattr(relay_module, "PAGE", 2)
    fill(room, 10)
    first = relay_of(room, desk.queue)
    while first.step():
        pass
    rename(room, kit)
    fill(room, 3, start=10)
    queue = Counted(desk.queue, room.clock, call_s=3.0)
    relay = relay_of(room, queue)
    assert [relay.step() for _ in range(6)][-1] == 0
    assert desk.own() == wanted(room)
    assert queue.appends < 6 + 8


def test_a_lost_tail_is_healed_across_a_rename(room, desk, kit):
    """What came back older has lost the new name's mark and a part of the old name's messages: all are sent again."""
    fill(room, 2)
    relay_of(room, desk.queue).step()
    rename(room, kit)
    fill(room, 1, start=2)
    relay = relay_of(room, desk.queue)
    relay.step()
    relay.step()
    desk.lose_tail(3)
    desk.drop_mark(room.policy.source)
    room.opened("after")
    assert sum(relay.step() for _ in range(3)) == 4
    assert desk.own() == wanted(room)


def test_the_journal_knows_under_which_sources_it_speaks(room, kit):
    """Every source in order, the last message of each, and what waits of each; a row that cannot be read hides none."""
    fill(room, 1)
    old = room.policy.source
    rename(room, kit)
    fill(room, 2, start=1)
    outbox = Outbox(room.store, room.clock)
    seqs = {source: [] for source in (old, room.policy.source)}
    for message in room.reader.messages_after(0, 1000):
        seqs[message.source].append(message.journalseq)
    with room.store.write() as tx:
        tx.connection.execute(update(JOURNAL).where(JOURNAL.c.seq == 1).values(payload="no JSON"))
    assert outbox.sources() == [old, room.policy.source]
    assert outbox.message_at(outbox.last_seq(), old) == seqs[old][-1]
    assert outbox.message_at(outbox.last_seq(), room.policy.source) == seqs[room.policy.source][-1]
    assert outbox.message_at(outbox.last_seq(), old[:-1]) == 0
    assert outbox.waiting_after(0, room.policy.source)[0] == len(seqs[room.policy.source])
