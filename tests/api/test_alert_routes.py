# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alerts over HTTP: lists, detail, decisions, timeline and evidence, on a real store."""

import hashlib

import httpx
import pytest

from events.alerts import Decision
from gridwatch.core.camera import SightState
from gridwatch.core.zone import Kind

FIELDS = {
    "id",
    "revision",
    "kind",
    "subtype",
    "category",
    "run_mode",
    "camera_id",
    "grid_id",
    "severity",
    "activity",
    "decision",
    "case",
    "case_id",
    "opened_at",
    "began_at",
    "ended_at",
    "title",
    "text",
    "facts",
    "boxes",
    "still",
    "clip",
    "decided",
    "detail",
    "due",
    "handling",
}
CLIP = b"\x00\x00\x00\x18ftypmp42" + bytes(range(256)) * 8


def problem(response: httpx.Response, status: int) -> dict:
    """Return the body after checking that it is a problem of this status."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["status"] == status
    assert {"type", "title", "detail"} <= set(body)
    return body


def test_an_alert_has_exactly_the_documented_fields(client, world) -> None:
    """The JSON of an alert is the contract's, with times in UTC and the still's own hash."""
    alert = world.open(Kind.FIRE)
    body = client.get(f"/api/v1/alerts/{alert.id}").json()
    assert set(body) == FIELDS
    assert body["title"] == {"zh": "疑似明火", "en": alert.title["en"]}
    assert (body["severity"], body["grid_id"], body["run_mode"]) == (1, "510117004003012", "exercise")
    assert body["opened_at"] == "2026-11-26T02:00:01Z"
    assert set(body["boxes"][0]) == {"x0", "y0", "x1", "y1", "label", "confidence"}
    assert body["clip"] == {"state": "pending", "url": None, "sha256": None, "pre_roll_s": None}
    still = client.get(body["still"]["url"])
    assert still.headers["content-type"] == "image/jpeg"
    assert hashlib.sha256(still.content).hexdigest() == body["still"]["sha256"]


def test_the_etag_is_the_revision(client, world) -> None:
    """An alert's ETag is the revision that an operator sees."""
    alert = world.open()
    response = client.get(f"/api/v1/alerts/{alert.id}")
    assert response.headers["etag"] == f'"{response.json()["revision"]}"' == '"1"'


def test_lists_are_newest_first_in_pages_with_the_proof_of_sight(client, world) -> None:
    """Pages follow each other by cursor without a gap, each with its coverage."""
    ids = [world.open(kind, still=False).id for kind in Kind]
    world.sight.states["34020000001320000003"] = SightState.BLIND
    first = client.get("/api/v1/alerts", params={"limit": 3}).json()
    second = client.get("/api/v1/alerts", params={"limit": 3, "cursor": first["next"]}).json()
    assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1]
    assert second["next"] is None
    assert first["coverage"] == {
        "cameras": 3,
        "seeing": 2,
        "blind": 1,
        "not_covered": 1,
        "oldest_look_s": 3.2,
    }


def test_an_empty_list_still_says_what_is_seen(client, world) -> None:
    """No alerts and no sight is not the same as no alerts."""
    world.sight.states = dict.fromkeys(world.sight.states, SightState.BLIND)
    body = client.get("/api/v1/alerts").json()
    assert body["items"] == []
    assert body["coverage"] == {
        "cameras": 3,
        "seeing": 0,
        "blind": 3,
        "not_covered": 3,
        "oldest_look_s": None,
    }


def test_a_seeing_camera_without_a_look_leaves_the_oldest_look_unknown(client, world) -> None:
    """What was never looked at has no age; the answer is unknown, not small."""
    world.sight.ages["34020000001320000002"] = None
    assert client.get("/api/v1/cameras").json()["coverage"]["oldest_look_s"] is None


def test_filters_narrow_the_list(client, world) -> None:
    """Kind, decision, activity, camera and open each narrow the list."""
    fire = world.open(Kind.FIRE, "34020000001320000001", still=False)
    crowd = world.open(Kind.CROWD, "34020000001320000002", still=False)
    world.book.decide(crowd.id, Decision.CONFIRMED, by="op-07")
    world.end(fire)

    def ids(**params: str) -> list[str]:
        return [item["id"] for item in client.get("/api/v1/alerts", params=params).json()["items"]]

    assert ids(kind="fire") == [fire.id]
    assert ids(decision="confirmed") == [crowd.id]
    assert ids(activity="ended") == [fire.id]
    assert ids(camera_id="34020000001320000002") == [crowd.id]
    assert ids(open="true") == [crowd.id]


def test_confirming_answers_with_the_next_revision(client, world) -> None:
    """A confirmation is recorded, answered with the alert after it, and starts the clocks of the case."""
    alert = world.open()
    response = client.post(
        f"/api/v1/alerts/{alert.id}/confirm", json={"note": " 已电话核实 "}, headers={"If-Match": '"1"'}
    )
    body = response.json()
    assert (response.status_code, response.headers["etag"]) == (200, '"2"')
    assert (body["decision"], body["decided"]["by"], body["decided"]["note"]) == (
        "confirmed",
        "api",
        "已电话核实",
    )
    assert set(body["due"]) == {"review", "sign", "handle", "verify"}
    assert world.alerts.get(alert.id).decision is Decision.CONFIRMED


def test_dismissing_needs_a_known_reason(client, world) -> None:
    """A dismissal carries one of four reasons; anything else is refused and changes nothing."""
    alert = world.open()
    path, seen = f"/api/v1/alerts/{alert.id}/dismiss", {"If-Match": '"1"'}
    for body in ({"reason": "bored", "note": ""}, {"note": "x"}, {"reason": "drill", "nota": "x"}):
        problem(client.post(path, json=body, headers=seen), 422)
    assert world.alerts.get(alert.id).decision is Decision.PENDING
    done = client.post(path, json={"reason": "false_alarm", "note": "路灯"}, headers=seen).json()
    assert (done["decision"], done["decided"]["reason"], done["decided"]["note"]) == (
        "dismissed",
        "false_alarm",
        "路灯",
    )


def test_a_decision_without_if_match_is_refused(client, world) -> None:
    """Whoever decides says which revision was seen."""
    alert = world.open()
    path = f"/api/v1/alerts/{alert.id}/confirm"
    assert "If-Match" in problem(client.post(path, json={}), 428)["detail"]
    for tag in ("1", 'W/"1"', "*", '"x"'):
        problem(client.post(path, json={}, headers={"If-Match": tag}), 400)
    assert world.alerts.get(alert.id).decision is Decision.PENDING


@pytest.mark.parametrize(("action", "body"), [("dismiss", {"reason": "drill"}), ("confirm", {"note": "x"})])
def test_the_loser_of_two_decisions_is_told_who_and_when(client, world, action: str, body: dict) -> None:
    """The second of two operators who saw the same revision gets a 409 that names the first."""
    alert = world.open()
    world.clock.advance(7)
    world.book.decide(alert.id, Decision.DISMISSED, by="op-07", reason="harmless", seen_revision=1)
    path = f"/api/v1/alerts/{alert.id}/{action}"
    told = problem(client.post(path, json=body, headers={"If-Match": '"1"'}), 409)
    assert (told["by"], told["decision"], told["revision"]) == ("op-07", "dismissed", 2)
    assert told["at"] == "2026-11-26T02:00:08Z"
    assert world.alerts.get(alert.id).decided.by == "op-07"


def test_new_revisions_without_a_decision_do_not_refuse_one(client, world) -> None:
    """New facts or a step of the case after what the operator saw refuse nothing."""
    alert = world.open()
    world.book.camera_lost(alert.camera_id, "network")
    assert world.alerts.get(alert.id).revision == 2
    response = client.post(f"/api/v1/alerts/{alert.id}/confirm", json={}, headers={"If-Match": '"1"'})
    assert response.json()["revision"] == 3


def test_changing_a_decision_without_a_reason_is_refused(client, world) -> None:
    """A dismissed alert is confirmed after all only with a note that says why."""
    alert = world.open()
    client.post(
        f"/api/v1/alerts/{alert.id}/dismiss", json={"reason": "harmless"}, headers={"If-Match": '"1"'}
    ).raise_for_status()
    path, seen = f"/api/v1/alerts/{alert.id}/confirm", {"If-Match": '"2"'}
    assert problem(client.post(path, json={}, headers=seen), 422)["type"].endswith("illegal-decision")
    assert client.post(path, json={"note": "再次查看为明火"}, headers=seen).json()["decision"] == "confirmed"


def test_the_timeline_is_the_journal_of_one_alert(client, world) -> None:
    """Every change stands there in order, with its hash and the message that it became."""
    alert = world.open()
    other = world.open(Kind.SMOKE)
    world.book.decide(alert.id, Decision.CONFIRMED, by="op-07")
    world.answer(alert, "accepted", 1)
    body = client.get(f"/api/v1/alerts/{alert.id}/timeline").json()
    assert [row["kind"] for row in body["items"]] == ["opened", "confirmed", "case"]
    assert body["items"][0]["message_id"] == f"{alert.id}:1"
    assert body["items"][1]["actor"] == "operator:op-07"
    assert body["items"][2]["payload"]["changes"][0]["to"] == "accepted"
    assert {"next", "coverage"} <= set(body)
    assert other.id not in str(body)


def test_the_timeline_comes_in_pages_and_its_end_can_be_asked_for(client, world) -> None:
    """Pages follow each other by cursor without a gap; the newest rows are one request away."""
    alert = world.open(still=False)
    for revision in range(1, 5):
        world.answer(alert, "reported", revision)
    path = f"/api/v1/alerts/{alert.id}/timeline"
    whole = client.get(path).json()
    assert (len(whole["items"]), whole["next"]) == (5, None)
    found, cursor = [], None
    while True:
        page = client.get(path, params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        found.append(page["items"])
        if (cursor := page["next"]) is None:
            break
    assert [len(rows) for rows in found] == [2, 2, 1]
    assert [row for rows in found for row in rows] == whole["items"]
    assert client.get(path, params={"limit": 2, "newest": 1}).json()["items"] == whole["items"][-2:]
    for cursor in ("nonsense", "-1", "9" * 19, "²"):
        problem(client.get(path, params={"cursor": cursor}), 400)


def test_a_revision_that_was_never_there_is_refused(client, world) -> None:
    """An invented If-Match is a 412 that tells the newest revision; nothing is decided."""
    alert = world.open(still=False)
    seen = {"If-Match": '"7"'}
    told = problem(client.post(f"/api/v1/alerts/{alert.id}/confirm", json={}, headers=seen), 412)
    assert (told["seen"], told["revision"]) == (7, 1)
    assert told["type"].endswith("unknown-revision")
    body = {"reason": "drill"}
    problem(client.post(f"/api/v1/alerts/{alert.id}/dismiss", json=body, headers=seen), 412)
    assert world.alerts.get(alert.id).decision is Decision.PENDING


def test_unknown_alerts_are_problems_everywhere(client) -> None:
    """Every path of an alert that is not there answers 404 as a problem."""
    for path in ("", "/timeline", "/still", "/clip"):
        problem(client.get(f"/api/v1/alerts/nobody{path}"), 404)
    problem(client.post("/api/v1/alerts/nobody/confirm", json={}, headers={"If-Match": '"1"'}), 404)


def test_stills_come_clean_and_masked_and_are_not_sent_twice(client, world) -> None:
    """The masked still is another file; a client that holds the hash is told that nothing changed."""
    alert = world.open()
    clean = client.get(f"/api/v1/alerts/{alert.id}/still")
    masked = client.get(f"/api/v1/alerts/{alert.id}/still", params={"masked": 1})
    assert hashlib.sha256(masked.content).hexdigest() == alert.still.masked_sha256 != alert.still.sha256
    again = client.get(f"/api/v1/alerts/{alert.id}/still", headers={"If-None-Match": clean.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_masked_stills_are_served_by_their_hash(client, world) -> None:
    """The path that a case message carries leads to the bytes that its hash names."""
    still = world.open().still
    sha256 = still.masked_sha256
    response = client.get(f"/api/v1/evidence/{sha256}.jpg")
    assert hashlib.sha256(response.content).hexdigest() == sha256
    problem(
        client.get(f"/api/v1/evidence/{still.sha256}.jpg"), 404
    )  # the clean one never leaves by this door
    problem(client.get(f"/api/v1/evidence/{'0' * 64}.jpg"), 404)
    problem(client.get("/api/v1/evidence/..%2f..%2fsecret.jpg"), 404)
    problem(client.get("/api/v1/evidence/short.jpg"), 422)


def test_an_alert_without_a_picture_says_so(client, world) -> None:
    """No still is a 404 whose state says that there is none."""
    alert = world.open(still=False)
    assert client.get(f"/api/v1/alerts/{alert.id}").json()["still"] is None
    assert problem(client.get(f"/api/v1/alerts/{alert.id}/still"), 404)["state"] == "none"


def test_clips_go_from_pending_to_ready_and_are_served_in_ranges(client, world) -> None:
    """A clip that is being made is a 404 with state pending; then it is video/mp4 with ranges."""
    alert = world.open()
    path = f"/api/v1/alerts/{alert.id}/clip"
    pending = client.get(path)
    assert problem(pending, 404)["state"] == "pending"
    assert pending.headers["retry-after"]
    world.book.attach_clip(alert.id, CLIP, 4.5)
    shown = client.get(f"/api/v1/alerts/{alert.id}").json()["clip"]
    assert (shown["url"], shown["pre_roll_s"]) == (path, 4.5)
    ready = client.get(path)
    assert (ready.headers["content-type"], ready.content) == ("video/mp4", CLIP)
    part = client.get(path, headers={"Range": "bytes=4-7"})
    assert (part.status_code, part.content) == (206, b"ftyp")


def test_what_the_main_stream_shows_stands_beside_picture_and_clip(client, world) -> None:
    """Null until there is something; then a larger picture, clean and masked, and a second clip, each by its hash."""
    alert = world.open()
    path = f"/api/v1/alerts/{alert.id}"
    assert client.get(path).json()["detail"] is None
    for what in ("still", "clip"):
        assert problem(client.get(f"{path}/{what}?detail=true"), 404)["state"] == "none"
    world.show_main(alert, clip=False)
    shown = client.get(path).json()["detail"]
    assert (shown["still"]["url"], shown["clip"]) == (f"{path}/still?detail=true", None)
    larger = client.get(shown["still"]["url"])
    assert hashlib.sha256(larger.content).hexdigest() == shown["still"]["sha256"]
    masked = client.get(shown["still"]["url"], params={"detail": True, "masked": True})
    assert (
        client.get(f"/api/v1/evidence/{masked.headers['etag'].strip(chr(34))}.jpg").content == masked.content
    )
    world.show_main(alert)
    shown = client.get(path).json()["detail"]
    clip = client.get(shown["clip"]["url"])
    assert (clip.headers["content-type"], clip.content[-4:]) == ("video/mp4", b"main")
    assert hashlib.sha256(clip.content).hexdigest() == shown["clip"]["sha256"]
    body = client.get(path).json()
    assert body["still"]["sha256"] == alert.still.sha256 != shown["still"]["sha256"]
    assert (body["clip"]["state"], body["revision"]) == ("pending", 1)


def test_a_clip_that_will_never_be_says_none(client, world) -> None:
    """No clip is a 404 whose state says that there will be none."""
    alert = world.open()
    world.book.attach_clip(alert.id, None)
    assert problem(client.get(f"/api/v1/alerts/{alert.id}/clip"), 404)["state"] == "none"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/v1/alerts?limit=0", 422),
        ("/api/v1/alerts?kind=ufo", 422),
        ("/api/v1/alerts?cursor=nonsense", 400),
        ("/api/v1/cameras?cursor=nonsense", 400),
        ("/api/v1/nothing", 404),
        ("/nothing", 404),
    ],
)
def test_wrong_requests_are_problems(client, path: str, status: int) -> None:
    """What cannot be understood or found is a problem that says what is wrong."""
    assert problem(client.get(path), status)["detail"]


def test_wrong_methods_are_problems(client) -> None:
    """A method that a path does not know is a 405 problem."""
    problem(client.post("/api/v1/alerts", json={}), 405)
    problem(client.request("DELETE", "/api/v1/alerts/x", json={}), 405)


def test_a_store_that_does_not_answer_is_a_503(client, world) -> None:
    """Without its store the API says to come again; it never answers with an empty list."""
    world.store.close()
    world.alerts._store = _Broken()
    response = client.get("/api/v1/alerts")
    assert problem(response, 503)["type"].endswith("store-unavailable")
    assert response.headers["retry-after"]


class _Broken:
    def read(self):
        from events.errors import StoreError

        raise StoreError("the database does not answer")
