# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests of backup and restore share: a city that was recorded and told, and a consumer that has only the stream."""

import json
from dataclasses import dataclass, field

import pytest

from events.alerts import Decision
from events.backup import BackupSource, back_up
from events.queues.memory import MemoryCaseQueue
from events.reading import AlertReader
from events.relay import Relay
from events.replies import ReplyReader
from events.restoring import Restore, RestoreTarget
from gridwatch.core.finding import Stage
from gridwatch.core.zone import Kind

# The rules are the same whatever the queue is made of: three tests run on a real one too.
in_memory = pytest.mark.parametrize("desk", ["memory"], indirect=True)
on_sqlite = pytest.mark.parametrize(
    "databases", ["sqlite"], indirect=True
)  # the rule asks nothing of the database


@dataclass
class Consumer:
    """Who reads the stream alone: acts on an id once, and knows by `previous` whether it has all of an incident."""

    strict: bool = True  # nothing of the stream was lost on the way: `previous` is what was seen last
    seen: dict = field(default_factory=dict)
    revision: dict = field(default_factory=dict)
    data: dict = field(default_factory=dict)
    read: int = 0
    seq: int = 0

    def reads(self, entries):
        for entry in entries[self.read :]:
            self.read += 1
            known, seq = self.seen.setdefault(entry["id"], entry["data"]), int(entry["journalseq"])
            assert known == entry["data"], f"{entry['id']} was told twice, in other words"
            assert seq > self.seq, f"{entry['id']}: row {seq} came after row {self.seq}"
            self.seq = seq
            incident, revision = entry["subject"], int(entry["id"].rpartition(":")[2])
            last = self.revision.get(incident, 0)
            assert revision > last, f"{entry['id']} came after revision {last}"
            if self.strict:
                assert int(entry["previous"]) == last, (
                    f"{entry['id']} comes after {entry['previous']}, not {last}"
                )
            assert int(entry["previous"]) <= last, f"{entry['id']}: {entry['previous']} is missing"
            self.revision[incident], self.data[incident] = revision, json.loads(entry["data"])


def sends(room, desk):
    """Relay everything that is due."""
    relay = Relay(AlertReader(room.store), desk.queue, room.clock)
    while relay.step():
        pass
    return relay


def answers(room, desk):
    """Read every answer that waits."""
    reader = ReplyReader(room.book, desk.queue, wait_s=0.01)
    while reader.step():
        pass
    return reader.taken


def backed_up(room, to):
    origin = BackupSource(room.store, room.folder / "evidence", room.policy.source, "0.1.0")
    return back_up(origin, to, room.clock)


def cut(desk, keep):
    """Trim the stream as its owner may, whoever has not read it."""
    if isinstance(desk.queue, MemoryCaseQueue):
        del desk.queue.entries[:-keep]
    else:
        desk.client.xtrim("gridwatch:cases", maxlen=keep, approximate=False)


def restoring(kit):
    """Yield what restores a backup into a new room and returns room and report; the old room's store is lost."""
    rooms = []

    def make(room, backup, desk, *, databases=None, starts=True, **more):
        room.store.close()
        folder = room.folder / f"restored-{len(rooms)}"
        folder.mkdir()
        new = kit.Room(
            folder, room.clock, databases or room.databases, room.policy, with_evidence=room.with_evidence
        )
        rooms.append(new)
        target = RestoreTarget(new.store, folder / "evidence", folder, room.policy.source)
        report = Restore(target, desk.queue if desk else None, room.clock, **more).run(backup)
        if starts:
            new.again()
        return new, report

    yield make
    for room in rooms:
        room.store.close()


def recorded_city(room, desk, kit):
    """Let a room record, send and be answered; one message waits."""
    fire = room.book.record(room.finding(of="fire"), kit.Picture())
    jam = room.opened("jam", camera=kit.MARKET, kind=Kind.TRAFFIC, subtype="congestion")
    room.book.decide(fire.id, Decision.CONFIRMED, by="op-1")
    sends(room, desk)
    desk.answer(room.reply(fire.id, "accepted", 1))
    answers(room, desk)
    smoke = room.opened("smoke", kind=Kind.SMOKE, subtype="smoke")
    room.fire, room.jam, room.smoke = fire.id, jam.id, smoke.id
    return room


def goes_on(room, desk, kit):
    """What happens after the backup: ends, decisions, a new incident, answers; the last incident is never sent."""
    room.clock.advance(120)
    room.says(Stage.ENDED, "fire")
    room.book.decide(room.jam, Decision.DISMISSED, by="op-2", reason="harmless")
    crowd = room.book.record(
        room.finding(of="crowd", camera=kit.MARKET, kind=Kind.CROWD, subtype="count"), kit.Picture(seed=2)
    )
    room.book.decide(crowd.id, Decision.CONFIRMED, by="op-1", note="真的")
    sends(room, desk)
    desk.answer(room.reply(room.fire, "dispatched", 2, unit={"code": "U1", "name": "综合执法"}))
    desk.answer(room.reply(crowd.id, "accepted", 1, case_id="AJ-2"))
    answers(room, desk)
    return crowd.id
