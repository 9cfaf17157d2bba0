# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whatever is found, decided, answered, lost and restarted, in any order: the record stays whole."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from events.alerts import AlertFilter, Decision
from events.errors import EventsError
from events.journal import GENESIS, chain_hash, digest
from events.messages import CaseReply
from events.queues.memory import MemoryCaseQueue
from events.relay import Relay
from gridwatch.core.clock import ManualClock
from gridwatch.core.finding import Stage
from gridwatch.core.zone import Kind

WORDS = [
    "reported",
    "accepted",
    "dispatched",
    "signed",
    "handled",
    "verified",
    "closed",
    "voided",
    "reopened",
    "odd",
]
number = st.integers(0, 2)


class Life(RuleBasedStateMachine):
    """Random lives of incidents on two cameras, with a relay that sends now and then."""

    kit = None
    empty = None

    def __init__(self):
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.room = self.kit.Room(self.folder, ManualClock(self.kit.START), self.empty)
        self.queue = MemoryCaseQueue()
        self.relay = Relay(self.room.reader, self.queue, self.room.clock)
        self.case_revision = 0

    def teardown(self):
        self.room.store.close()
        shutil.rmtree(self.folder)

    def alerts(self):
        return self.room.reader.list(AlertFilter(), None, 100).items

    def pick(self, which):
        found = self.alerts()
        return found[which % len(found)] if found else None

    @rule(stage=st.sampled_from(list(Stage)), of=number, camera=st.booleans(), count=st.integers(0, 9))
    def find(self, stage, of, camera, count):
        camera_id = self.kit.BRIDGE if camera else self.kit.MARKET
        self.room.says(stage, f"{camera_id}-{of}", camera=camera_id, count=count)

    @rule(seconds=st.sampled_from([1, 6, 61, 700]))
    def wait(self, seconds):
        self.room.clock.advance(seconds)

    @rule()
    def lose(self):
        self.room.book.camera_lost(self.kit.BRIDGE, "stalled")

    @rule()
    def settle(self):
        self.room.book.settle(self.kit.BRIDGE, Kind.FIRE)

    @rule()
    def restart(self):
        self.room.again()
        self.relay = Relay(self.room.reader, self.queue, self.room.clock)

    @rule(
        which=number, confirm=st.booleans(), reason=st.sampled_from([None, "drill", "harmless"]), seen=number
    )
    def decide(self, which, confirm, reason, seen):
        if alert := self.pick(which):
            decision = Decision.CONFIRMED if confirm else Decision.DISMISSED
            try:
                self.room.book.decide(alert.id, decision, by="op-1", reason=reason, seen_revision=seen)
            except EventsError:
                assert self.room.reader.get(alert.id) == alert

    @rule(which=number, word=st.sampled_from(WORDS), back=number)
    def answer(self, which, word, back):
        if alert := self.pick(which):
            self.case_revision += 1
            revision = max(1, self.case_revision - back)
            self.room.book.answer(
                CaseReply.parse(self.room.reply(alert.id, word, revision, case_id=f"AJ-{alert.id}"))
            )

    @rule(which=number)
    def clip(self, which):
        if alert := self.pick(which):
            self.room.book.attach_clip(alert.id, None)

    @rule()
    def send(self):
        self.relay.step()
        assert [entry["id"] for entry in self.queue.entries] == [
            message.id for message in self.room.reader.messages_after(0, 1000)
        ]

    @invariant()
    def the_chain_holds(self):
        before = GENESIS
        for seq, row in enumerate(self.room.reader.rows_after(0, 5000), 1):
            assert (row.seq, row.prev_hash) == (seq, before)
            assert row.row_hash == chain_hash(row)
            assert row.payload_hash == digest(row.payload)
            before = row.row_hash

    @invariant()
    def revisions_and_messages_are_complete(self):
        for alert in self.alerts():
            rows = self.room.reader.timeline(alert.id)
            revisions = [row.revision for row in rows]
            assert revisions == sorted(revisions)
            assert set(revisions) == set(range(1, alert.revision + 1))
            assert revisions[-1] == alert.revision
            sent = [row for row in rows if row.message_id is not None]
            assert [row.message_id for row in sent] == [f"{alert.id}:{row.revision}" for row in sent]
            assert [row.payload["message"]["previous"] for row in sent] == [
                0,
                *[row.revision for row in sent],
            ][:-1]
            assert all(not row.actor.startswith("case:") for row in sent)
            for row in sent:
                assert json.loads(row.payload["message"]["data"])["revision"] == row.revision

    @invariant()
    def each_field_has_one_owner(self):
        for row in self.room.reader.rows_after(0, 5000):
            moved = {change["field"] for change in row.payload.get("changes", ()) if row.kind != "opened"}
            assert "decision" not in moved or row.actor.startswith(("operator:", "case:"))
            assert "case" not in moved or row.actor.startswith("case:")
            assert "activity" not in moved or row.actor == "machine"

    @invariant()
    def one_open_incident_per_place(self):
        joinable = [
            (alert.camera_id, alert.kind, alert.subtype)
            for alert in self.alerts()
            if alert.activity != "ended" and alert.case != "closed"
        ]
        reopened = [alert for alert in self.alerts() if alert.case == "reopened"]
        assert len(joinable) - len(set(joinable)) <= len(reopened)


@pytest.mark.timeout(600)
def test_any_life_of_incidents_keeps_the_record_whole(kit, empty_store):
    """Random sequences keep revisions, the chain, the messages' predecessors and the owners of the three fields."""
    machine = type("KitLife", (Life,), {"kit": kit, "empty": empty_store})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=12 if empty_store.kind == "sqlite" else 4,  # a database of its own for each
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
