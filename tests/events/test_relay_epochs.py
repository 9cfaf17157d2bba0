# SPDX-License-Identifier: AGPL-3.0-or-later
"""The relay after a restore: the mark of an epoch that this store goes on from is taken over, any other is a conflict."""

import threading

import pytest
from sqlalchemy import delete, func, insert, select, update

from events.errors import MarkConflict, QueueError
from events.queues.memory import MemoryCaseQueue
from events.queues.port import Mark
from events.relay import Relay
from events.stores.schema import COUNTER, EPOCHS, JOURNAL
from gridwatch.core.finding import Stage

# The rules are the same on every database, and each of these tests makes several stores of one.
pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)


def relay_of(room, queue):
    return Relay(room.reader, queue, room.clock)


def wanted(room):
    return [message.id for message in room.reader.messages_after(0, 1000)]


def fill(room, number, start=0):
    """Record incidents of two messages each; all have ended, so that a restart adds no row."""
    for one in range(start, start + number):
        room.opened(f"f{one}")
        room.says(Stage.ENDED, f"f{one}")
        room.clock.advance(3600)


def restore(room, until, epoch, seen):
    """Make of the store what a restore of a backup makes that ends with row `until`: a new epoch, rows above `seen`."""
    with room.store.write() as tx:
        sql = tx.connection
        sql.execute(delete(JOURNAL).where(JOURNAL.c.seq > until))
        last = sql.execute(select(JOURNAL.c.row_hash).where(JOURNAL.c.seq == until)).scalar()
        follows = sql.execute(select(COUNTER.c.epoch)).scalar()
        sql.execute(update(COUNTER).values(epoch=epoch, seq=seen, last_hash=last))
        row = {"epoch": epoch, "first_seq": seen + 1, "follows": follows, "followed_until": until}
        sql.execute(insert(EPOCHS).values(row))
        assert sql.execute(select(func.count()).select_from(JOURNAL)).scalar() <= until
    room.again()


def test_a_restored_store_takes_its_predecessors_mark_over(room, desk):
    """What was sent before the backup is not sent again; what the store lost stays in the queue; new rows follow."""
    fill(room, 3)
    relay_of(room, desk.queue).step()
    sent = desk.own()
    restore(room, 4, "e2", seen=10)
    relay = relay_of(room, desk.queue)
    assert relay.step() == 0
    assert desk.queue.mark(room.policy.source) == Mark("e2", 4)
    assert relay.counts.taken_over == 1
    fill(room, 1, start=10)
    assert relay.step() == 2
    assert desk.own() == [*sent, *wanted(room)[4:]]
    assert relay_of(room, desk.queue).step() == 0


def test_what_the_queue_had_not_got_before_the_backup_is_sent(room, desk):
    """A mark lower than the backup's end keeps its row: the shared rows behind it are sent, then the new ones."""
    fill(room, 1)
    relay_of(room, desk.queue).step()
    fill(room, 2, start=2)
    restore(room, 5, "e2", seen=20)
    fill(room, 1, start=9)
    relay = relay_of(room, desk.queue)
    assert relay.step() == 5
    assert desk.own() == wanted(room)


def test_marks_of_every_known_ancestor_are_taken_over(room, desk):
    """A store that was restored twice goes on from the first epoch's mark, as far as all three share their rows."""
    fill(room, 3)
    relay_of(room, desk.queue).step()
    restore(room, 4, "e2", seen=10)
    fill(room, 2, start=10)
    restore(room, 11, "e3", seen=20)
    relay = relay_of(room, desk.queue)
    assert relay.step() == 1
    assert desk.queue.mark(room.policy.source) == Mark("e3", 11)
    restore(room, 3, "e4", seen=30)
    assert relay_of(room, desk.queue).step() == 0
    assert desk.queue.mark(room.policy.source) == Mark("e4", 3)


def test_a_queue_that_comes_back_from_before_the_restore_is_taken_over_again(room, desk):
    """The relay has taken over and gone on; then the queue is older than the restore, with the old epoch's mark."""
    fill(room, 2)
    old = relay_of(room, desk.queue)
    old.step()
    epoch = room.store.epoch
    restore(room, 4, "e2", seen=9)
    fill(room, 1, start=10)
    relay = relay_of(room, desk.queue)
    relay.step()
    desk.lose_tail(2)
    desk.set_mark(room.policy.source, Mark(epoch, 2))
    room.clock.advance(2)
    assert relay.step() == 4
    assert desk.own() == wanted(room)


def test_a_tail_of_a_known_epoch_restores_a_lost_mark(room, desk):
    """Mark lost, and the last own entry is of the epoch before: it counts as far as the journals are the same."""
    fill(room, 3)
    relay_of(room, desk.queue).step()
    sent = desk.own()
    restore(room, 4, "e2", seen=10)
    fill(room, 1, start=10)
    desk.lose_marks()
    assert relay_of(room, desk.queue).step() == 2
    assert desk.own() == [*sent, *wanted(room)[-2:]]


def test_an_unknown_epoch_stays_a_conflict(room, desk):
    """No rule takes over what another store wrote; the sentence names the command that decides."""
    fill(room, 1)
    restore(room, 2, "e2", seen=5)
    desk.set_mark(room.policy.source, Mark("stranger", 1))
    for _ in range(2):
        with pytest.raises(MarkConflict, match="gridwatch queue adopt"):
            relay_of(room, desk.queue).step()
    assert desk.queue.mark(room.policy.source) == Mark("stranger", 1)
    assert desk.own() == []


def test_a_row_that_both_epochs_know_differently_is_a_conflict(room, desk):
    """A mark of the epoch before must name a message of the shared rows, unless it stands behind their end."""
    room.opened()
    room.book.attach_clip(wanted(room)[0].split(":")[0], None)
    room.opened("f2", camera="another")
    assert [row.message_id is None for row in room.reader.rows_after(0, 9)] == [False, True, False]
    epoch = room.store.epoch
    restore(room, 3, "e2", seen=5)
    desk.set_mark(room.policy.source, Mark(epoch, 2))
    with pytest.raises(MarkConflict, match="no message"):
        relay_of(room, desk.queue).step()


def test_two_relays_take_over_once(room, desk):
    """Both see the old mark; one of them moves it, and neither sends anything twice."""
    fill(room, 2)
    relay_of(room, desk.queue).step()
    sent = desk.own()
    restore(room, 3, "e2", seen=8)
    fill(room, 2, start=10)
    relays = [relay_of(room, queue) for queue in (desk.queue, desk.second_reader())]
    gate = threading.Barrier(2)

    def run(relay):
        gate.wait()
        while relay.step():
            pass

    threads = [threading.Thread(target=run, args=(relay,)) for relay in relays]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert desk.own() == [*sent, *wanted(room)[3:]]
    assert sum(relay.counts.appended for relay in relays) == 4


def test_a_mark_that_never_holds_still_is_given_up_for_now(room):
    """Somebody else moves the mark whenever it is to be taken over: the step ends as if the queue were away."""

    class Restless(MemoryCaseQueue):
        def take_over(self, source, old, new):
            return False

    fill(room, 1)
    epoch = room.store.epoch
    restore(room, 2, "e2", seen=3)
    queue = Restless()
    queue.marks[room.policy.source] = Mark(epoch, 1)
    with pytest.raises(QueueError, match="another gridwatch"):
        relay_of(room, queue).step()
