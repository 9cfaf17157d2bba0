# SPDX-License-Identifier: AGPL-3.0-or-later
"""Evidence that is made when somebody asks: the still with its boxes, the clip that may leave, and who may have them."""

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from api.application import create_app
from api.console.texts import Language, Words
from api.console.timeline import timeline_html
from events.policy import KeepDays
from events.retention import Retention
from events.tokens import Role
from gridwatch.core.ports import LeavingClip
from gridwatch.core.zone import Kind

LINE_BGR = (0, 140, 255)


class Making:
    """Makes clips as a test says, and remembers who asked."""

    def __init__(self):
        self.now = LeavingClip("none", None, "nobody asked for it yet")
        self.asked = []

    def ask(self, incident_id, *, by):
        self.asked.append((incident_id, by))
        return self.now

    def state(self, _incident_id):
        return self.now


@pytest.fixture
def making():
    return Making()


@pytest.fixture
def app(world, making):
    return create_app(replace(world.services(), leaving=making), console=False)


def picture(response):
    assert response.status_code == 200
    return cv2.imdecode(np.frombuffer(response.content, np.uint8), cv2.IMREAD_COLOR)


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_the_still_comes_with_boxes_and_without(world, client):
    """The clean one stays as it was stored; the boxes are drawn where the claim has them, and nothing else changes."""
    alert = world.open()
    clean = picture(client.get(f"/api/v1/alerts/{alert.id}/still"))
    response = client.get(f"/api/v1/alerts/{alert.id}/still/boxes")
    drawn = picture(response)
    assert response.headers["content-type"] == "image/jpeg"
    assert drawn.shape == clean.shape
    height, width = clean.shape[:2]
    x, y = int(0.33 * width), int(0.4 * height)
    assert np.abs(drawn[y, x].astype(int) - LINE_BGR).max() < 40
    assert np.abs(clean[y, x].astype(int) - LINE_BGR).max() > 60
    far = (slice(int(0.6 * height), None), slice(int(0.6 * width), None))
    assert np.abs(drawn[far].astype(int) - clean[far]).mean() < 3


def test_a_still_with_boxes_is_not_sent_twice_and_may_be_missing(world, client):
    """A cache that has it is told so; without a picture, or with one that is gone, it is a 404."""
    alert = world.open()
    path = f"/api/v1/alerts/{alert.id}/still/boxes"
    held = client.get(path).headers["etag"]
    assert client.get(path, headers={"If-None-Match": held}).status_code == 304
    world.evidence.discard(alert.still.sha256)
    assert client.get(path).status_code == 404
    assert (
        client.get(f"/api/v1/alerts/{world.open(Kind.SMOKE, still=False).id}/still/boxes").status_code == 404
    )
    assert client.get("/api/v1/alerts/0199/still/boxes").status_code == 404


@pytest.mark.parametrize(
    ("state", "status", "waits"),
    [("pending", 202, True), ("busy", 503, True), ("ready", 200, False), ("none", 200, False)],
)
def test_a_request_for_the_clip_that_may_leave_is_answered_at_once(
    world, client, making, state, status, waits
):
    """Taken on, not now, there already, or nothing to make it of."""
    alert, sha256 = world.open(), "a" * 64 if state == "ready" else None
    making.now = LeavingClip(state, sha256, "why")
    response = client.post(f"/api/v1/alerts/{alert.id}/masked-clip", json={})
    assert response.status_code == status
    assert ("retry-after" in response.headers) == waits
    url = f"/api/v1/evidence/{sha256}.mp4" if sha256 else None
    assert response.json() == {"state": state, "url": url, "sha256": sha256, "reason": "why"}
    assert making.asked == [(alert.id, "api")]
    assert client.get(f"/api/v1/alerts/{alert.id}/masked-clip").json() == response.json()


def test_only_the_masked_clip_is_found_by_its_hash(world, client):
    """The clean clip's hash, or a still's, leads nowhere; ranges and caches are served."""
    alert = world.open()
    world.book.attach_clip(alert.id, b"clean mp4")
    masked = world.book.attach_masked_clip(alert.id, b"masked mp4", asked_by="op")
    response = client.get(f"/api/v1/evidence/{masked}.mp4")
    assert (response.content, response.headers["content-type"]) == (b"masked mp4", "video/mp4")
    assert hashlib.sha256(response.content).hexdigest() == masked
    part = client.get(f"/api/v1/evidence/{masked}.mp4", headers={"Range": "bytes=0-5"})
    assert (part.status_code, part.content) == (206, b"masked")
    held = {"If-None-Match": response.headers["etag"]}
    assert client.get(f"/api/v1/evidence/{masked}.mp4", headers=held).status_code == 304
    clip, still = world.alerts.get(alert.id).clip.sha256, alert.still
    for sha256 in (clip, still.sha256, still.masked_sha256, "0" * 64):
        assert client.get(f"/api/v1/evidence/{sha256}.mp4").status_code == 404
    assert client.get(f"/api/v1/evidence/{masked}.jpg").status_code == 404


def test_who_may_have_what(world, client, making):
    """A seat sees boxes and asks for clips; a program asks and fetches, but sees nothing clean; a stranger gets nothing."""
    alert = world.open()
    world.book.attach_clip(alert.id, b"clean")
    masked = world.book.attach_masked_clip(alert.id, b"masked", asked_by="op")
    boxes, ask, fetch = (
        f"/api/v1/alerts/{alert.id}/still/boxes",
        f"/api/v1/alerts/{alert.id}/masked-clip",
        f"/api/v1/evidence/{masked}.mp4",
    )
    expected = {
        Role.VIEWER: (200, 403, 200, 200),
        Role.OPERATOR: (200, 200, 200, 200),
        Role.INTEGRATOR: (403, 200, 200, 200),
    }
    for role, statuses in expected.items():
        headers = bearer(world.token(role, name=f"a-{role.value}"))
        world.clock.advance(2)
        found = (
            client.get(boxes, headers=headers).status_code,
            client.post(ask, json={}, headers=headers).status_code,
            client.get(ask, headers=headers).status_code,
            client.get(fetch, headers=headers).status_code,
        )
        assert found == statuses, role
    assert [by for _, by in making.asked] == ["a-operator", "a-integrator"]
    assert {client.get(path).status_code for path in (boxes, ask, fetch)} == {401}


def test_a_signed_link_opens_a_masked_clip_too(world, client):
    """Who holds the link needs no token, until it is over; it opens nothing else."""
    alert = world.open()
    world.book.attach_clip(alert.id, b"clean")
    masked = world.book.attach_masked_clip(alert.id, b"masked", asked_by="op")
    headers = bearer(world.token(Role.INTEGRATOR))
    made = client.post("/api/v1/evidence-links", json={"sha256": masked, "valid_s": 60}, headers=headers)
    url = made.json()["url"]
    assert url.startswith(f"/api/v1/evidence/{masked}.mp4?")
    assert client.get(url).content == b"masked"
    assert client.get(url.replace(masked, alert.still.masked_sha256)).status_code == 401
    world.clock.advance(61)
    assert client.get(url).status_code == 401


def test_where_nothing_makes_clips_that_is_said(world, portal, client):
    """A program that serves an old store makes none."""
    in_process = type(client)
    other = in_process(
        portal, create_app(replace(world.services(), registry=CollectorRegistry()), console=False)
    )
    alert = world.open()
    response = other.post(f"/api/v1/alerts/{alert.id}/masked-clip", json={})
    assert (response.status_code, response.json()["state"]) == (404, "none")


@pytest.mark.parametrize(
    ("language", "words"),
    [(Language.EN, ("evidence deleted", "kept for its time")), (Language.ZH, ("删除证据", "保存期已满"))],
)
def test_the_timeline_says_what_was_deleted_and_why(world, language, words):
    """Nobody reads "stored" where a file went."""
    alert = world.open()
    world.clock.advance(91 * 86_400)
    assert Retention(world.store, world.evidence, KeepDays(), world.clock).step().removed.files == 2
    page = timeline_html(world.alerts.timeline(alert.id), world.clock.now(), Words(language))
    assert all(word in page for word in words)
