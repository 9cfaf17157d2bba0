# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a case message holds: every mandatory field, in Chinese, within its limits, and nothing about persons."""

import hashlib
import json
import unicodedata
from pathlib import Path

import jsonschema
import pytest

from events.alerts import Decision
from events.errors import DecodeError
from events.evidence import MASKED
from events.messages import CaseReply, message_of, write_schemas
from events.policy import Policy, Push
from gridwatch.core.finding import Stage
from gridwatch.core.zone import Kind

SCHEMAS = Path(__file__).resolve().parents[2] / "docs" / "schemas"
MANDATORY = [
    "schema_version",
    "source_id",
    "incident_id",
    "revision",
    "run_mode",
    "category",
    "title",
    "description",
    "severity",
    "lane",
    "confidence",
    "detector",
    "first_seen_at",
    "last_seen_at",
    "alerted_at",
    "queued_at",
    "clock_offset_ms",
    "camera_id",
    "camera_name",
    "zone_id",
    "media",
    "group_id",
    "merged_into",
    "repeats",
    "activity",
    "decision",
    "case",
    "due",
    "purpose",
    "retain_until",
]
KNOWN = [
    "division_code",
    "street_code",
    "community_code",
    "grid_id",
    "grid_version",
    "location",
    "address_text",
    "dept_hint_name",
]
PERSONS = (
    "person_name", "id_no", "phone", "face", "plate", "person_id", "track", "ethnicity", "gender", "age", "petition",
)  # fmt: skip


def schema(name):
    return json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))


def names_in(value):
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from names_in(inner)
    if isinstance(value, list):
        for inner in value:
            yield from names_in(inner)


def first(room):
    message = room.reader.messages_after(0, 1)[0]
    return message, json.loads(message.data)


def test_a_message_holds_every_mandatory_field(evidence_room, kit):
    """The data validates against the committed schema, names every mandatory field, and is in +08:00."""
    room = evidence_room
    room.book.record(room.finding(), kit.Picture())
    message, data = first(room)
    jsonschema.validate(data, schema("case-message"), format_checker=jsonschema.FormatChecker())
    assert set(MANDATORY) <= set(data)
    assert set(KNOWN) <= set(data)
    assert data["title"] == "疑似明火"
    assert "请核实" in data["description"]
    assert data["first_seen_at"] == "2026-11-26T09:00:00.000+08:00" == message.time
    assert data["clock_offset_ms"] is None
    assert data["due"] == {
        "review": "2026-11-26T09:01:00.000+08:00",
        "sign": None,
        "handle": None,
        "verify": None,
    }
    assert data["location"] == {
        "lon": 120.55,
        "lat": 27.61,
        "crs": "WGS84",
        "kind": "camera",
        "accuracy_m": 30.0,
    }
    assert data["dept_hint_name"] == "综治工作平台"


def test_the_picture_that_leaves_is_the_masked_one_and_its_hash_is_true(evidence_room, kit):
    """The message names the masked still, whose bytes have that SHA-256; the clean one is not named anywhere."""
    room = evidence_room
    alert = room.book.record(room.finding(), kit.Picture())
    message, data = first(room)
    (medium,) = data["media"]
    assert (medium["masked"], medium["w"], medium["h"]) == (True, 960, 540)
    assert medium["uri"] == f"/api/v1/evidence/{medium['sha256']}.jpg"
    stored = room.evidence.path(medium["sha256"], MASKED).read_bytes()
    assert hashlib.sha256(stored).hexdigest() == medium["sha256"] == alert.still.masked_sha256
    assert alert.still.sha256.encode() not in message.data


def test_the_entry_is_plain_cloud_events(room):
    """The fields are those of docs/case-queue.md, all text, and the hash is the journal row's."""
    alert = room.opened()
    message, _ = first(room)
    row = room.reader.rows_after(0, 1)[0]
    assert message.fields() == {
        "specversion": "1.0",
        "id": f"{alert.id}:1",
        "source": "urn:gridwatch:51011700005020000001",
        "type": "cn.gridwatch.incident.opened.v1",
        "subject": alert.id,
        "time": "2026-11-26T09:00:00.000+08:00",
        "datacontenttype": "application/json",
        "previous": "0",
        "journalepoch": room.store.epoch,
        "journalseq": "1",
        "journalhash": row.row_hash,
        "data": message.data.decode(),
    }


def test_types_and_previous_follow_the_incident(room, kit):
    """Each revision is one message that names its predecessor, also across rows that are no messages."""
    alert = room.opened()
    room.book.camera_lost(kit.BRIDGE, "stalled")
    room.book.answer(CaseReply.parse(room.reply(alert.id, "reported", 1)))
    room.says(Stage.UPDATED)
    room.book.decide(alert.id, Decision.DISMISSED, by="op-1", reason="drill")
    room.says(Stage.ENDED)
    room.says(Stage.OPENED, "f2")
    sent = room.reader.messages_after(0, 20)
    kinds = [message.type.split(".")[3] for message in sent]
    assert kinds == ["opened", "updated", "updated", "dismissed", "ended", "reopened"]
    revisions = [json.loads(message.data)["revision"] for message in sent]
    assert revisions == [1, 2, 4, 5, 6, 7]
    assert [message.previous for message in sent] == [0, *revisions[:-1]]


def test_on_confirm_nothing_leaves_before_a_confirmation(tmp_path, clock, empty_store, kit):
    """A kind that is pushed on confirmation is silent until then; the confirmation is its first message."""
    policy = Policy(source_id=kit.SOURCE_ID, push={Kind.FIRE: Push.ON_CONFIRM})
    room = kit.Room(tmp_path, clock, empty_store, policy)
    dismissed, alert = room.opened("f1"), room.opened("f2", camera=kit.MARKET)
    room.opened("f3", kind=Kind.SMOKE, subtype="smoke")
    room.book.decide(dismissed.id, Decision.DISMISSED, by="op-1", reason="false_alarm")
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-1")
    room.says(Stage.ENDED, "f2", camera=kit.MARKET)
    sent = room.reader.messages_after(0, 20)
    assert [
        (message.subject == alert.id, message.type.split(".")[3], message.previous) for message in sent
    ] == [
        (False, "opened", 0),
        (True, "confirmed", 0),
        (True, "ended", 2),
    ]
    room.store.close()


def test_a_resend_has_the_same_bytes(room):
    """Messages are frozen: later changes and a restart leave the fields of an earlier one as they were."""
    alert = room.opened()
    before = room.reader.messages_after(0, 1)[0].fields()
    room.book.decide(alert.id, Decision.CONFIRMED, by="op-1")
    room.again()
    assert room.reader.messages_after(0, 1)[0].fields() == before


def test_long_and_odd_texts_are_cut_not_refused(tmp_path, clock, empty_store, kit):
    """Over-long addresses end in "…", text is NFC, odd numbers become null, and the whole stays under 64 KB."""
    room = kit.Room(tmp_path, clock, empty_store)
    camera = room.places[kit.BRIDGE]
    room.places[kit.BRIDGE] = kit.replace(camera, name="e\u0301" * 300, address_text="路" * 400)
    facts = {f"fact_{number}": "长" * 5000 for number in range(500)} | {"nan": float("nan")}
    room.opened(**{"nan": float("nan"), "inf": float("inf"), "big": 2**70, "lone": "\ud800"} | facts)
    message, data = first(room)
    jsonschema.validate(data, schema("case-message"))
    assert len(message.data) <= 64 * 1024
    assert data["address_text"] == "路" * 255 + "…"
    assert unicodedata.is_normalized("NFC", message.data.decode())
    assert (data["facts"]["nan"], data["facts"]["inf"]) == (None, None)
    room.store.close()


def test_nothing_about_persons_is_in_the_schema():
    """No property of either direction is about a person: no name, face, plate, phone, age or movement."""
    for name in ("case-message", "case-reply"):
        words = [word for prop in names_in(schema(name)) for word in prop.lower().split("_")]
        assert not {
            "face",
            "plate",
            "phone",
            "petition",
            "ethnicity",
            "gender",
            "age",
            "person",
            "track",
        } & set(words)


def test_a_field_about_a_person_is_refused_by_the_schema(room):
    """A message with any such field does not validate, at the top or deeper."""
    room.opened()
    _, data = first(room)
    validator = jsonschema.Draft202012Validator(schema("case-message"))
    assert validator.is_valid(data)
    for field in PERSONS:
        assert not validator.is_valid(data | {field: "x"})
        assert not validator.is_valid(data | {"detector": data["detector"] | {field: "x"}})


def test_the_committed_schemas_are_current(tmp_path):
    """docs/schemas is what the models say; `events.messages.write_schemas` writes it."""
    written = write_schemas(tmp_path)
    assert {file.name: file.read_text() for file in written} == {
        file.name: file.read_text() for file in SCHEMAS.glob("case-*.json")
    }


def test_replies_validate_against_their_schema(room):
    """An answer as the contract describes it is valid, and an answer without an incident is not."""
    fields = room.reply("0199", "signed", 4, unit={"code": "9", "name": "消防救援大队"}, role="lead", at=None)
    jsonschema.validate(json.loads(fields["data"]), schema("case-reply"))
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"incident_id": ""}, schema("case-reply"))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"type": "cn.other.thing.v1", "data": "{}"},
        {"type": "cn.gridwatch.case.accepted.v1"},
        {"type": "cn.gridwatch.case.accepted.v1", "data": "[]"},
        {"type": "cn.gridwatch.case.accepted.v1", "data": "{}"},
        {"type": "cn.gridwatch.case.accepted.v1", "subject": "a", "data": '{"incident_id":"b"}'},
        {"type": "cn.gridwatch.case.accepted.v1", "subject": "a", "data": '{"case_revision":0}'},
        {"type": "cn.gridwatch.decision.made.v1", "subject": "a", "data": "{}"},
        {"type": "cn.gridwatch.case.accepted.v1", "subject": "a", "data": '{"note":"' + "x" * 70_000 + '"}'},
        {"type": "cn.gridwatch.case.accepted.v1", "subject": "a", "data": "[" * 100_000},
    ],
)
def test_what_is_no_reply_raises_with_its_fields(fields):
    """A DecodeError carries the entry as it came."""
    with pytest.raises(DecodeError) as raised:
        CaseReply.parse(fields)
    assert raised.value.fields == fields


def test_a_reply_is_read_tolerantly():
    """Missing id, source and time, numbers as text and unknown fields are no obstacle."""
    data = '{"case_id":"AJ-1","case_revision":"3","colour":"red","at":"yesterday"}'
    read = CaseReply.parse({"type": "cn.gridwatch.case.flying.v1", "subject": "a", "data": data})
    assert (read.incident_id, read.state, read.word, read.at) == ("a", None, "flying", None)
    assert (read.data.case_revision, read.source, read.id[:7]) == (3, "unknown", "sha256:")


def test_a_row_that_is_no_message_is_refused(room):
    """Only rows with a message id can be turned into a message."""
    room.book.answer(CaseReply.parse(room.reply("0199", "accepted", 1)))
    with pytest.raises(ValueError, match="no message"):
        message_of(room.reader.rows_after(0, 1)[0])
