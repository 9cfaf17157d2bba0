# SPDX-License-Identifier: AGPL-3.0-or-later
"""A message as the case system gets it: read from a real server with a plain client, nothing of ours in between."""

import hashlib
import json
import re
from pathlib import Path

import jsonschema
import pytest
import redis

from events.evidence import MASKED
from events.grids import Grids
from events.incidents import IncidentBook
from events.queues.redis_streams import RedisCaseQueue
from events.relay import Relay

SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "schemas" / "case-message.json"


@pytest.fixture
def grids(tmp_path) -> Grids:
    """One grid around the bridge."""
    ring = [[120.5, 27.6], [120.6, 27.6], [120.6, 27.7], [120.5, 27.7], [120.5, 27.6]]
    properties = {
        "grid_id": "330327004003012",
        "name": "环川第一网格",
        "division_code": "330327",
        "street_code": "330327004",
        "community_code": "330327004003",
        "version": "2026-1",
    }
    feature = {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    file = tmp_path / "grids.geojson"
    file.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}), encoding="utf-8")
    return Grids.load(file)


def test_a_dispatcher_can_act_on_what_a_plain_client_reads(evidence_room, kit, valkey, redis_client, grids):
    """CloudEvents attributes in plain text; a report in Chinese with place, unit, deadline and a picture that is there."""
    room = evidence_room
    book = IncidentBook(
        room.store, room.clock, places=room.places, grids=grids, evidence=room.evidence, policy=room.policy
    )
    alert = book.record(room.finding(), kit.Picture())
    assert Relay(evidence_room.reader, RedisCaseQueue(redis_client), evidence_room.clock).step() == 1
    plain = redis.Redis.from_url(valkey, decode_responses=True)
    ((_, entry),) = plain.xrange("gridwatch:cases")
    plain.close()
    assert entry["specversion"] == "1.0"
    assert entry["id"] == f"{alert.id}:1"
    assert entry["type"] == "cn.gridwatch.incident.opened.v1"
    assert (entry["subject"], entry["previous"]) == (alert.id, "0")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+08:00", entry["time"])
    data = json.loads(entry["data"])
    jsonschema.validate(data, json.loads(SCHEMA.read_text(encoding="utf-8")))
    assert (data["title"], data["lane"], data["severity"]) == ("疑似明火", "fire", 1)
    assert re.search("[一-鿿]{4}", data["description"])
    assert (data["division_code"], data["street_code"], data["community_code"]) == (
        "330327",
        "330327004",
        "330327004003",
    )
    assert (data["grid_id"], data["grid_version"]) == ("330327004003012", "2026-1")
    assert data["dept_hint_name"]
    assert data["due"]["review"].endswith("+08:00")
    (still,) = data["media"]
    name = still["uri"].rsplit("/", 1)[1].removesuffix(".jpg")
    picture = evidence_room.evidence.path(name, MASKED).read_bytes()
    assert hashlib.sha256(picture).hexdigest() == still["sha256"] == name
    assert still["masked"] is True
