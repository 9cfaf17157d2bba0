# SPDX-License-Identifier: AGPL-3.0-or-later
"""The entries that the case desk reads: every malformed one is refused with a reason, never guessed at."""

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gridwatch.simulator.case_desk.errors import UnreadableMessage
from gridwatch.simulator.case_desk.wire import Unit, is_incident_message, parse_message

DATA = {
    "incident_id": "i1",
    "revision": 3,
    "decision": "confirmed",
    "run_mode": "actual",
    "title": "疑似明火",
}
FIELDS = {
    "id": "i1:3",
    "source": "urn:gridwatch:1",
    "type": "cn.gridwatch.incident.confirmed.v1",
    "subject": "i1",
    "previous": "2",
    "data": json.dumps(DATA),
}


def wire(**changes):
    fields = {name: value for name, value in (FIELDS | changes).items() if value is not None}
    return {
        name.encode(): value if isinstance(value, bytes) else value.encode() for name, value in fields.items()
    }


def data(**changes):
    return json.dumps(DATA | changes)


def test_a_whole_message_is_read():
    """All fields arrive, and the hash is that of the bytes of data."""
    message = parse_message(wire())
    assert (message.incident_id, message.revision, message.previous) == ("i1", 3, 2)
    assert message.confirmed
    assert not message.voids
    assert message.title == "疑似明火"
    assert message.sha256 != parse_message(wire(data=data(title="x"))).sha256


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_a_missing_field_is_named(name):
    """Each field of the contract is needed."""
    with pytest.raises(UnreadableMessage, match=f"field {name} is missing"):
        parse_message(wire(**{name: None}))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"data": "{"}, "not JSON"),
        ({"data": b"\xff"}, "not JSON"),
        ({"data": "[" * 60_000}, "not JSON"),
        ({"data": "[]"}, "not a JSON object"),
        ({"data": data(text="x" * 65_536)}, "bytes"),
        ({"data": data(revision="3")}, "revision"),
        ({"data": data(revision=True)}, "revision"),
        ({"data": data(revision=0)}, "revision"),
        ({"data": data(revision=2**63)}, "revision"),
        ({"data": data(incident_id="i2")}, "different incidents"),
        ({"id": "i1:4"}, "different incidents"),
        ({"subject": "i2"}, "different incidents"),
        ({"subject": ""}, "empty"),
        ({"source": b"\xff"}, "not UTF-8"),
        ({"previous": "3"}, "not a revision before 3"),
        ({"previous": "-1"}, "not a revision before 3"),
        ({"previous": "²"}, "not a revision before 3"),
    ],
)
def test_a_malformed_message_is_refused_with_the_reason(changes, reason):
    """Each contradiction or impossible value is refused in words."""
    with pytest.raises(UnreadableMessage, match=reason):
        parse_message(wire(**changes))


@given(st.dictionaries(st.sampled_from([name.encode() for name in FIELDS]), st.binary(max_size=40)))
def test_any_bytes_are_read_or_refused(changes):
    """Whatever stands in the fields, nothing but UnreadableMessage is raised."""
    fields = wire() | changes
    is_incident_message(fields)
    with suppress(UnreadableMessage):
        assert parse_message(fields).revision == DATA["revision"]


def test_units_come_from_the_report():
    """The hint leads and the grid assists; without them the command room leads alone."""
    full = parse_message(
        wire(data=data(dept_hint_code="1", dept_hint_name="消防救援大队", grid_id="9", grid_name="东街"))
    )
    assert (full.lead_unit(), full.assist_unit()) == (Unit("1", "消防救援大队"), Unit("9", "东街"))
    bare = parse_message(wire())
    assert (bare.lead_unit(), bare.assist_unit()) == (Unit("", "综合信息指挥室"), None)
