# SPDX-License-Identifier: AGPL-3.0-or-later
"""What no queue takes is given up with a reason, holds up nothing behind it, and its incident can be told again."""

import json

import pytest
from sqlalchemy import update

from events.alerts import Decision
from events.compose import DATA_MAX_BYTES
from events.dead_letters import DeadLetters
from events.errors import Undeliverable, UnknownLetter
from events.policy import Policy, Push
from events.queues.port import BatchResult, Mark, Outcome
from events.queues.redis_streams import RedisCaseQueue
from events.relay import Relay
from events.stores.schema import JOURNAL
from events.stores.writing import Entry
from gridwatch.core.zone import Kind


def relay_of(room, queue):
    return Relay(room.reader, queue, room.clock)


def letters_of(room, **changed):
    policy = room.policy if not changed else Policy(source_id=room.policy.source_id, **changed)
    return DeadLetters(room.store, room.clock, policy)


def write_too_large(room, alert):
    """Write the next revision of an incident as one that no queue takes; return its row."""
    data = "x" * (DATA_MAX_BYTES + 1)
    with room.store.write() as tx:
        incident = tx.incident(alert.id)
        revision = incident.alert.revision + 1
        frozen = {
            "source": room.policy.source,
            "type": "cn.gridwatch.incident.updated.v1",
            "previous": incident.queued_revision,
            "epoch": room.store.epoch,
            "data": data,
        }
        entry = Entry(
            incident_id=alert.id,
            revision=revision,
            kind="updated",
            actor="machine",
            at=room.clock.now(),
            payload={"message": frozen},
            message_id=f"{alert.id}:{revision}",
        )
        changed = {"revision": revision}
        alert = type(incident.alert)(
            **{name: getattr(incident.alert, name) for name in type(incident.alert).__dataclass_fields__}
            | changed
        )
        values = {name: getattr(incident, name) for name in type(incident).__dataclass_fields__}
        tx.save(type(incident)(**values | {"alert": alert, "queued_revision": revision}))
        return tx.append(entry).seq


def spoil(room, seq, text):
    """Make a row's text something else than what was written, as a disk or a hand may."""
    with room.store.write() as tx:
        tx.connection.execute(update(JOURNAL).where(JOURNAL.c.seq == seq).values(payload=text))


def test_a_message_that_is_too_large_holds_up_nothing(room, desk):
    """It is given up with the reason, everything behind it arrives, and it does not count as waiting."""
    alert = room.opened()
    seq = write_too_large(room, alert)
    room.book.decide(alert.id, Decision.CONFIRMED, by="op")
    relay = relay_of(room, desk.queue)
    assert relay.backlog()[0] == 3
    assert relay.step() == 2
    assert desk.own() == [f"{alert.id}:1", f"{alert.id}:3"]
    assert relay.backlog() == (0, 0.0)
    assert relay.dead_letters() == 1
    assert relay.counts.buried == 1
    (letter,) = letters_of(room).list()
    assert (letter.seq, letter.message_id, letter.replayed_seq) == (seq, f"{alert.id}:2", None)
    assert "65537 bytes" in letter.reason
    assert letter.at == room.clock.now()


def test_what_was_given_up_last_is_not_tried_again(room, desk):
    """After it nothing waits, for this relay and for the next; a new message goes on from the last that was sent."""
    alert = room.opened()
    write_too_large(room, alert)
    assert relay_of(room, desk.queue).step() == 1
    after_restart = relay_of(room, desk.queue)
    assert after_restart.step() == 0
    assert after_restart.counts.buried == 0
    assert after_restart.backlog() == (0, 0.0)
    room.book.decide(alert.id, Decision.CONFIRMED, by="op")
    assert after_restart.step() == 1
    assert desk.own() == [f"{alert.id}:1", f"{alert.id}:3"]


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"message":{"source":1}}', '{"message":"\\ud800"}'])
def test_a_row_that_cannot_be_read_holds_up_nothing(room, desk, text):
    """A row whose text is no message any more is given up, wherever it stands: first, and as the newest."""
    alert = room.opened()
    room.book.decide(alert.id, Decision.CONFIRMED, by="op")
    room.opened("other", camera="another")
    for seq in (1, 3):
        spoil(room, seq, text)
    relay = relay_of(room, desk.queue)
    assert relay.step() == 1
    assert desk.own() == [f"{alert.id}:2"]
    assert [letter.seq for letter in letters_of(room).list()] == [1, 3]
    assert relay_of(room, desk.queue).step() == 0


@pytest.mark.parametrize("name", ["data", "type"])
def test_text_that_is_no_utf8_is_given_up(room, desk, name):
    """A lone surrogate, which JSON can write and no queue can carry."""
    room.opened()
    epoch = room.store.epoch
    message = {"source": room.policy.source, "type": "t", "previous": 0, "epoch": epoch, "data": "d"}
    message[name] = "@"
    spoil(room, 1, json.dumps({"message": message}).replace("@", "\\ud800"))
    relay = relay_of(room, desk.queue)
    assert relay.step() == 0
    assert relay.dead_letters() == 1
    assert desk.own() == []
    assert "UTF-8" in letters_of(room).list()[0].reason


def test_many_bad_messages_are_passed(room, desk, monkeypatch):
    """Pages that hold nothing but bad messages are gone through."""
    monkeypatch.setattr("events.relay.PAGE", 2)
    alert = room.opened()
    for _ in range(5):
        write_too_large(room, alert)
    room.opened("last", camera="another")
    relay = relay_of(room, desk.queue)
    assert sum(relay.step() for _ in range(5)) == 2
    assert relay.dead_letters() == 5


def test_a_replay_is_a_fresh_revision_in_its_turn(room, desk):
    """The incident is told again as it is now; `previous` names what the consumer has; the old bytes are never sent."""
    alert = room.opened()
    seq = write_too_large(room, alert)
    relay = relay_of(room, desk.queue)
    relay.step()
    room.opened("other", camera="another")
    letter = letters_of(room).replay(seq)
    assert letter.replayed_seq == room.reader.last_seq()
    assert relay.step() == 2
    told = desk.entries()[-1]
    assert (told["id"], told["previous"]) == (f"{alert.id}:3", "1")
    assert told["type"] == "cn.gridwatch.incident.updated.v1"
    assert relay.dead_letters() == 0
    row = room.reader.timeline(alert.id)[-1]
    assert (row.kind, row.revision, row.payload["reason"]) == ("updated", 3, "replayed")
    assert letters_of(room).replay(seq) == letter
    assert relay.step() == 0
    room.book.decide(alert.id, Decision.CONFIRMED, by="op")
    relay.step()
    assert desk.entries()[-1]["previous"] == "3"


def test_one_replay_stands_for_all_letters_of_an_incident(room, desk):
    """A message holds the whole of what is known, so one is enough; another incident's letters stay."""
    alert, other = room.opened(), room.opened("other", camera="another")
    seqs = [write_too_large(room, alert), write_too_large(room, alert)]
    left = write_too_large(room, other)
    relay = relay_of(room, desk.queue)
    relay.step()
    replayed = letters_of(room).replay(seqs[0]).replayed_seq
    found = {letter.seq: letter.replayed_seq for letter in letters_of(room).list()}
    assert found == {seqs[0]: replayed, seqs[1]: replayed, left: None}
    assert relay.dead_letters() == 1


def test_what_cannot_be_replayed_is_said_and_records_nothing(room, desk, monkeypatch):
    """No such letter; a fresh message that would be refused too; one that is not due by the policy of now."""
    alert = room.opened()
    room.policy = Policy(source_id=room.policy.source_id, push={Kind.FIRE: Push.ON_CONFIRM})
    seq = write_too_large(room, alert)
    spoil(room, 1, "{}")
    relay_of(room, desk.queue).step()
    rows = room.reader.last_seq()
    with pytest.raises(UnknownLetter, match="dead-letters list"):
        letters_of(room).replay(seq + 1)
    with pytest.raises(Undeliverable, match="confirms"):
        letters_of(room, push={Kind.FIRE: Push.ON_CONFIRM}).replay(seq)
    monkeypatch.setattr("events.queues.port.DATA_MAX_BYTES", 100)
    with pytest.raises(Undeliverable, match="refused as well"):
        letters_of(room, push={}).replay(seq)
    assert room.reader.last_seq() == rows
    assert [letter.replayed_seq for letter in letters_of(room).list()] == [None, None]


def test_letters_come_in_pages(room, desk):
    """The list goes on after a row."""
    alert = room.opened()
    seqs = [write_too_large(room, alert) for _ in range(3)]
    relay_of(room, desk.queue).step()
    letters = letters_of(room)
    assert [letter.seq for letter in letters.list(limit=2)] == seqs[:2]
    assert [letter.seq for letter in letters.list(seqs[1])] == seqs[2:]


class Answering:
    """A client whose script answers what a server with a small limit would."""

    def __init__(self, answer):
        self._answer = answer

    def register_script(self, _text):
        return lambda **_: self._answer

    @property
    def connection_pool(self):
        from types import SimpleNamespace

        return SimpleNamespace(connection_kwargs={"host": "queue.example", "port": 6379})


def test_an_entry_that_the_server_never_takes_is_refused(room):
    """The server's own words about one entry count as a refusal of that one; what was before it is appended."""
    room.opened()
    (message,) = room.reader.messages_after(0, 5)
    answer = [b"refused", 0, b"e:1", b"ERR Elements are too large to be stored"]
    result = RedisCaseQueue(Answering(answer)).append_many([message], Mark("e", 1))
    assert result == BatchResult(0, Outcome.REFUSED, Mark("e", 1), "ERR Elements are too large to be stored")
