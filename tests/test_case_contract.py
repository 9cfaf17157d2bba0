# SPDX-License-Identifier: AGPL-3.0-or-later
"""The two sides of the case queue were written apart, from docs/case-queue.md: here they read each other's entries."""

import json
from datetime import UTC, datetime

import pytest

from events.messages import CaseMessage, CaseReply
from gridwatch.simulator.case_desk.wire import Reply, Unit, is_incident_message, parse_message, reply_fields

DATA = {
    "incident_id": "0199a1c2",
    "revision": 3,
    "run_mode": "actual",
    "decision": "confirmed",
    "title": "疑似烟雾",
}


@pytest.mark.parametrize("what", ["opened", "updated", "confirmed", "reopened", "ended"])
def test_the_desk_reads_what_gridwatch_writes(what):
    """A message as the queue carries it is an incident message of the desk, with the same ids."""
    message = CaseMessage(
        id="0199a1c2:3",
        source="urn:gridwatch:51011700005020000001",
        type=f"cn.gridwatch.incident.{what}.v1",
        subject="0199a1c2",
        time="2026-11-23T10:04:55.002+08:00",
        previous=1,
        journalepoch="e",
        journalseq=9,
        journalhash="0" * 64,
        data=json.dumps(DATA, ensure_ascii=False).encode(),
    )
    fields = {name.encode(): value.encode() for name, value in message.fields().items()}
    assert is_incident_message(fields)
    read = parse_message(fields)
    assert (read.message_id, read.source, read.previous) == (message.id, message.source, message.previous)
    assert read.confirmed


@pytest.mark.parametrize(
    "word",
    ["reported", "accepted", "dispatched", "signed", "handled", "verified", "closed", "voided", "rejected"],
)
def test_gridwatch_reads_what_the_desk_writes(word):
    """A reply is one whose word moves the case, with unit, time and case revision."""
    at = datetime(2026, 11, 23, 2, 5, tzinfo=UTC)
    said = Reply(
        word=word,
        incident_id="0199a1c2",
        case_id="AJ-1",
        case_revision=4,
        at=at,
        answers="0199a1c2:3",
        unit=Unit("9", "消防救援大队"),
        role="lead",
    )
    read = CaseReply.parse(reply_fields(said, "urn:case-desk:test"))
    assert (read.state, read.at, read.incident_id) == (word, at, "0199a1c2")
    assert (read.data.case_id, read.data.case_revision, read.data.unit.name) == ("AJ-1", 4, "消防救援大队")
