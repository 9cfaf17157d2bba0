# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras, grids, counts, health, metrics, and the API's description of itself."""

import json
import re

from events.alerts import Decision
from gridwatch.core.camera import SightState
from gridwatch.core.zone import Kind

MARKET, BRIDGE, HARBOUR = "34020000001320000001", "34020000001320000002", "34020000001320000003"
OPERATIONS = {
    "list_alerts",
    "get_alert",
    "confirm_alert",
    "dismiss_alert",
    "get_timeline",
    "get_still",
    "get_clip",
    "get_evidence",
    "get_evidence_clip",
    "get_masked_clip",
    "get_still_with_boxes",
    "ask_masked_clip",
    "stream_alerts",
    "list_case_messages",
    "take_case_replies",
    "make_evidence_link",
    "list_cameras",
    "get_camera",
    "accept_view",
    "list_operations",
    "get_picture",
    "list_grids",
    "get_stats",
    "get_health",
    "get_ready",
    "get_metrics",
}


def test_cameras_come_in_configuration_order_with_state_and_reason(client, world) -> None:
    """Each camera says whether it sees, since when and why not; pages follow by cursor."""
    world.sight.states[HARBOUR] = SightState.BLIND
    world.sight.reasons[HARBOUR] = "no packets"
    first = client.get("/api/v1/cameras", params={"limit": 2}).json()
    second = client.get("/api/v1/cameras", params={"limit": 2, "cursor": first["next"]}).json()
    cameras = first["items"] + second["items"]
    assert [camera["camera_id"] for camera in cameras] == [MARKET, BRIDGE, HARBOUR]
    assert (cameras[2]["state"], cameras[2]["reason"]) == ("blind", "no packets")
    assert second["next"] is None
    assert "rtsp" not in json.dumps(cameras)


def test_a_cameras_picture_is_its_last_one(client, world) -> None:
    """A picture is served as it is; none yet and no such camera are told apart."""
    world.sight.pictures[MARKET] = b"\xff\xd8jpeg"
    url = client.get("/api/v1/cameras").json()["items"][0]["picture_url"]
    picture = client.get(url)
    assert (picture.content, picture.headers["content-type"]) == (b"\xff\xd8jpeg", "image/jpeg")
    assert picture.headers["cache-control"] == "no-store"
    assert client.get(f"/api/v1/cameras/{BRIDGE}/picture").json()["state"] == "pending"
    assert client.get("/api/v1/cameras/nobody/picture").json()["type"].endswith("unknown-camera")


def test_grids_are_listed(client) -> None:
    """A list of grids has their codes and, like every list, the proof of sight."""
    body = client.get("/api/v1/grids").json()
    assert [(grid["grid_id"], grid["name"]) for grid in body["items"]] == [
        ("510117004003012", "望丛社区第三网格")
    ]
    assert body["coverage"]["cameras"] == 3


def test_stats_count_by_every_field(client, world) -> None:
    """Counts stand there for every word of every field, zeros included, with the backlog."""
    world.open(Kind.FIRE, still=False)
    crowd = world.open(Kind.CROWD, still=False)
    world.book.decide(crowd.id, Decision.CONFIRMED, by="op-07")
    body = client.get("/api/v1/stats").json()
    assert body["by_kind"] == {"fire": 1, "smoke": 0, "crowd": 1, "traffic": 0}
    assert body["by_decision"] == {"pending": 1, "confirmed": 1, "dismissed": 0}
    assert body["backlog"] == {"messages": 3, "oldest_s": 12.5}
    assert body["run_mode"] == "exercise"


def test_readiness_names_every_reason(client, world) -> None:
    """Not ready is a 503 problem that lists why; health does not depend on it."""
    assert client.get("/readyz").json() == {"status": "ready"}
    world.reasons = ["the store does not answer", "the model is not loaded"]
    response = client.get("/readyz")
    assert response.status_code == 503
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["reasons"] == world.reasons
    assert client.get("/healthz").json() == {"status": "ok"}


def metric(text: str, name: str, **labels: str) -> float | None:
    """Return a sample's value from the Prometheus text, None where it is missing."""
    for line in text.splitlines():
        match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
        if match and dict(re.findall(r'(\w+)="([^"]*)"', match.group(1) or "")) == labels:
            return float(match.group(2))
    return None


def test_metrics_exist_before_anything_happened(client) -> None:
    """Every operation and outcome is there with zero, so that its absence would be seen."""
    text = client.get("/metrics").text
    assert metric(text, "gridwatch_http_requests_total", operation="confirm_alert", status="5xx") == 0
    assert metric(text, "gridwatch_decisions_total", decision="dismissed", outcome="conflict") == 0
    assert metric(text, "gridwatch_feed_listeners") == 0


def test_metrics_count_answers_and_decisions(client, world) -> None:
    """Answers are counted by operation and class, decisions by outcome, and labels stay bounded."""
    alert = world.open()
    for body, tag in (({}, '"1"'), ({"note": "again"}, '"1"')):
        client.post(f"/api/v1/alerts/{alert.id}/confirm", json=body, headers={"If-Match": tag})
    for number in range(5):
        client.get(f"/api/v1/nothing/{number}")
    text = client.get("/metrics").text
    assert metric(text, "gridwatch_http_requests_total", operation="confirm_alert", status="2xx") == 1
    assert metric(text, "gridwatch_http_requests_total", operation="confirm_alert", status="4xx") == 1
    assert metric(text, "gridwatch_decisions_total", decision="confirmed", outcome="done") == 1
    assert metric(text, "gridwatch_decisions_total", decision="confirmed", outcome="conflict") == 1
    assert metric(text, "gridwatch_http_requests_total", operation="other", status="4xx") == 5
    assert set(re.findall(r'operation="(\w+)"', text)) == OPERATIONS | {"console", "other"}


def test_operation_ids_are_stable(client) -> None:
    """Clients are generated from these names; they do not change by accident."""
    paths = client.get("/openapi.json").json()["paths"]
    assert {operation["operationId"] for path in paths.values() for operation in path.values()} == OPERATIONS


def test_the_description_says_what_to_send(client) -> None:
    """Every operation that needs a token names it, so that generated clients bring it."""
    document = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["token"]["scheme"] == "bearer"
    without = {
        operation["operationId"]
        for path in document["paths"].values()
        for operation in path.values()
        if "security" not in operation
    }
    assert without == {"get_health", "get_ready"}


def test_the_description_needs_nothing_from_outside(client) -> None:
    """The page describes every operation, has no script and names no other server."""
    page = client.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for name in OPERATIONS:
        assert f"id={name}" in page.text
    assert "<script" not in page.text
    assert re.findall(r"(?:https?:)?//[a-z]", page.text) == []


def test_refused_things_have_no_place_in_the_api(client) -> None:
    """No field or path of the API is about identifying people."""
    text = client.get("/openapi.json").text.lower()
    for word in ("face", "plate", "person_id", "watch_list", "trajectory", "petition"):
        assert word not in re.sub(r"interface|template", "", text)
