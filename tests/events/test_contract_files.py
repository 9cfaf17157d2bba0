# SPDX-License-Identifier: AGPL-3.0-or-later
"""The contract as files: they are what the code says, hang together, and real messages and answers are valid by them."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from events.alerts import CaseState, Decision
from events.contract import KINDS, WORDS, write_contract
from events.messages import message_of
from gridwatch.core.finding import Stage
from gridwatch.simulator.case_desk.wire import DecisionMade, Reply, Unit, decision_fields, reply_fields

DOCS = Path(__file__).resolve().parents[2] / "docs"
ASYNCAPI = yaml.safe_load((DOCS / "asyncapi.yaml").read_text("utf-8"))
on_sqlite = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)


def validator(name, part=None):
    """Return what validates by one of the files in docs/schemas, or by a part of it; patterns and dates included."""
    schema = json.loads((DOCS / "schemas" / f"{name}.json").read_text("utf-8"))
    schema = schema if part is None else schema["$defs"][part] | {"$defs": schema["$defs"]}
    return jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())


def test_the_committed_files_are_current(tmp_path):
    """docs/schemas and docs/asyncapi.yaml are what the code writes; the module says how to write them anew."""
    written = {
        file.relative_to(tmp_path).as_posix(): file.read_text("utf-8") for file in write_contract(tmp_path)
    }
    assert written == {name: (DOCS / name).read_text("utf-8") for name in written}
    committed = {f"schemas/{file.name}" for file in (DOCS / "schemas").glob("*.json")}
    assert committed == set(written) - {"asyncapi.yaml"}


def references(document):
    if isinstance(document, dict):
        if "$ref" in document:
            yield document["$ref"]
        for value in document.values():
            yield from references(value)
    elif isinstance(document, list):
        for value in document:
            yield from references(value)


def resolved(reference):
    file, _, pointer = reference.partition("#")
    document = json.loads((DOCS / file).read_text("utf-8")) if file else ASYNCAPI
    for part in pointer.split("/")[1:]:
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


def test_every_reference_of_the_asyncapi_document_leads_somewhere():
    """Channels, messages, servers and schemas that it names are there, in it or in a file beside it."""
    found = set(references(ASYNCAPI))
    assert len(found) > 25
    assert all(resolved(reference) for reference in found)
    assert ASYNCAPI["asyncapi"] == "3.0.0"
    for operation in ASYNCAPI["operations"].values():
        assert operation["action"] in {"send", "receive"}


def message_by_type(kind):
    """Return the AsyncAPI message whose headers allow this type."""
    found = [
        message
        for message in ASYNCAPI["components"]["messages"].values()
        if message.get("headers", {}).get("properties", {}).get("type", {}).get("const") == kind
    ]
    assert len(found) == 1, kind
    return found[0]


def test_every_word_of_the_case_system_is_described():
    """A new state of the case, or a new kind of message, cannot be left out."""
    assert set(WORDS) == set(CaseState) - {CaseState.NONE}
    for word in WORDS:
        message_by_type(f"cn.gridwatch.case.{word}.v1")
    for kind in KINDS:
        message_by_type(f"cn.gridwatch.incident.{kind}.v1")
    message_by_type("cn.gridwatch.decision.made.v1")


def messages_of(room):
    return [message_of(row).fields() for row in room.reader.rows_after(0, 100) if row.message_id]


@on_sqlite
def test_real_messages_are_valid_by_the_files(evidence_room, kit):
    """Opened, confirmed, ended, reopened, dismissed, with pictures: as entries, and their reports."""
    room = evidence_room
    alert = room.book.record(room.finding(), kit.Picture())
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-07")
    room.clock.advance(60)
    room.says(Stage.ENDED)
    room.clock.advance(60)
    room.opened("f2")
    room.book.decide(alert.id, Decision.DISMISSED, by="op-07", reason="false_alarm", note="晚霞")
    sent = messages_of(room)
    kinds = [fields["type"].split(".")[3] for fields in sent]
    assert set(kinds) == {"opened", "confirmed", "ended", "reopened", "dismissed"} <= set(KINDS)
    entry, report = validator("message-entry"), validator("case-message")
    for fields in sent:
        entry.validate(fields)
        report.validate(json.loads(fields["data"]))
        assert message_by_type(fields["type"])["payload"] == {"$ref": "./schemas/case-message.json"}
        for name in fields:
            assert not entry.is_valid({other: value for other, value in fields.items() if other != name})
    assert not entry.is_valid(sent[0] | {"type": "cn.gridwatch.incident.closed.v1"})
    assert not entry.is_valid(sent[0] | {"more": "x"})


def test_what_the_case_desk_says_is_valid_by_the_files(kit):
    """Every word of the reference desk, and a decision of its own screen, as entries and their data."""
    entry = validator("reply-entry")
    for number, word in enumerate(WORDS, start=1):
        said = Reply(
            word=word.value,
            incident_id="0199a1c2",
            case_id="AJ-1",
            case_revision=number,
            at=kit.START,
            answers="0199a1c2:3",
            outcome="stored",
            unit=Unit("9", "消防救援大队"),
            role="lead",
        )
        fields = reply_fields(said, "urn:case-desk:test")
        entry.validate(fields)
        validator("case-reply", "ReplyData").validate(json.loads(fields["data"]))
    decision = DecisionMade(
        number="d-1", incident_id="0199a1c2", decision="confirmed", at=kit.START, by="d-07"
    )
    fields = decision_fields(decision, "urn:case-desk:test")
    entry.validate(fields)
    validator("case-reply", "DecisionData").validate(json.loads(fields["data"]))
    assert not entry.is_valid(fields | {"type": "cn.gridwatch.case.lost.v1"})
