# SPDX-License-Identifier: AGPL-3.0-or-later
"""What HTTP tells of a camera: its state and why, its day, its last days; and what is not covered is never hidden."""

from dataclasses import replace
from datetime import date

import pytest
import structlog.testing

from events.errors import StoreError
from events.operations import Operations
from events.roles import Role
from events.stores import operations as rows
from gridwatch.core.camera import Fault, Note, SightState
from gridwatch.core.coverage import CameraDay
from gridwatch.core.zone import Kind

MARKET, BRIDGE, HARBOUR = "34020000001320000001", "34020000001320000002", "34020000001320000003"
TODAY = date(2026, 11, 26)  # 10:00 in +08:00


def listed(client, **params) -> dict[str, dict]:
    body = client.get("/api/v1/cameras", params=params).json()
    return {camera["camera_id"]: camera for camera in body["items"]}


def test_a_camera_tells_what_is_wrong_and_what_else_is_to_be_said(client, world) -> None:
    """Fault, reason, notes, clock offset and suspended zones stand beside the state; a seeing camera has no fault."""
    world.sight.states[BRIDGE] = SightState.DEGRADED
    world.sight.reasons[BRIDGE] = "the picture is not the one that zones were drawn on"
    world.sight.more[BRIDGE] = {
        "fault": Fault.MOVED,
        "notes": (Note.CLOCK_WRONG, Note.RING_SHORT),
        "clock_offset_s": -7.5,
        "zones_suspended": True,
    }
    cameras = listed(client)
    bridge, market = cameras[BRIDGE], cameras[MARKET]
    assert (bridge["state"], bridge["fault"], bridge["notes"]) == (
        "degraded",
        "moved",
        ["clock_wrong", "ring_short"],
    )
    assert (bridge["clock_offset_s"], bridge["zones_suspended"]) == (-7.5, True)
    assert bridge["since"] == "2026-11-26T01:55:00Z"
    assert (market["fault"], market["notes"], market["zones_suspended"]) == (None, [], False)
    assert (market["place"], market["grid_id"], market["last_look_age_s"]) == (
        "street",
        "510117004003012",
        1.5,
    )


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({}, [MARKET, BRIDGE, HARBOUR]),
        ({"state": "blind"}, [BRIDGE, HARBOUR]),
        ({"fault": "black"}, [HARBOUR]),
        ({"state": "seeing", "grid_id": "510117004003012"}, [MARKET]),
        ({"state": "blind", "grid_id": "510117004003012"}, []),
        ({"fault": "frozen"}, []),
    ],
)
def test_cameras_are_filtered(client, world, wanted, found) -> None:
    """By state, by fault and by grid, together; the proof of sight is of all cameras whatever was asked for."""
    world.sight.states |= {BRIDGE: SightState.BLIND, HARBOUR: SightState.BLIND}
    world.sight.more = {BRIDGE: {"fault": Fault.SILENT}, HARBOUR: {"fault": Fault.BLACK}}
    body = client.get("/api/v1/cameras", params=wanted).json()
    assert [camera["camera_id"] for camera in body["items"]] == found
    assert body["coverage"]["cameras"] == 3


def test_an_unknown_word_is_refused(client) -> None:
    """A state or fault that there is not is a mistake, not an empty list."""
    for params in ({"state": "asleep"}, {"fault": "tired"}):
        assert client.get("/api/v1/cameras", params=params).status_code == 422


def test_filtered_cameras_come_in_pages(client, world) -> None:
    """The cursor goes on within what the filter leaves."""
    world.sight.states |= {MARKET: SightState.BLIND, HARBOUR: SightState.BLIND}
    first = client.get("/api/v1/cameras", params={"state": "blind", "limit": 1}).json()
    second = client.get(
        "/api/v1/cameras", params={"state": "blind", "limit": 1, "cursor": first["next"]}
    ).json()
    assert [one["items"][0]["camera_id"] for one in (first, second)] == [MARKET, HARBOUR]
    assert second["next"] is None


def test_degraded_and_away_cameras_are_not_covered(client, world) -> None:
    """Whatever is not seeing is counted as not covered, in every list."""
    world.sight.states |= {MARKET: SightState.DEGRADED, BRIDGE: SightState.MAINTENANCE}
    world.sight.more[MARKET] = {"fault": Fault.ELSEWHERE}
    for path in ("/api/v1/cameras", "/api/v1/alerts", "/api/v1/operations", f"/api/v1/cameras/{MARKET}"):
        coverage = client.get(path).json()["coverage"]
        assert coverage == {"cameras": 3, "seeing": 1, "blind": 0, "not_covered": 2, "oldest_look_s": 0.5}


def test_a_test_camera_proves_nothing_about_the_city(client, world) -> None:
    """A camera whose incidents are of another run mode is listed and not counted."""
    world.places[MARKET] = replace(world.places[MARKET], run_mode="test")
    body = client.get("/api/v1/cameras").json()
    assert [camera["run_mode"] for camera in body["items"]] == ["test", "exercise", "exercise"]
    assert body["coverage"] | {"oldest_look_s": 0} == {
        "cameras": 2,
        "seeing": 2,
        "blind": 0,
        "not_covered": 0,
        "oldest_look_s": 0,
    }


def test_a_cameras_days_tell_its_blind_minutes(client, world) -> None:
    """Today beside each camera, the last days with one camera, newest first, with the share that was looked at."""
    days = [
        CameraDay(camera_id=MARKET, day=TODAY, seeing_s=3_000, blind_s=570, off_s=30, looked_at_s=2_856),
        CameraDay(camera_id=MARKET, day=date(2026, 11, 25), seeing_s=86_400, looked_at_s=86_000),
        CameraDay(camera_id=BRIDGE, day=date(2026, 11, 25), elsewhere_s=60),
    ]
    Operations(world.store, world.clock).add_days(days)
    cameras = listed(client)
    today = cameras[MARKET]["today"]
    assert (today["day"], today["blind_minutes"], today["off_s"], today["looked_at_share"]) == (
        "2026-11-26",
        9.5,
        30,
        0.8,
    )
    assert cameras[BRIDGE]["today"] is None
    body = client.get(f"/api/v1/cameras/{MARKET}").json()
    assert [day["day"] for day in body["days"]] == ["2026-11-26", "2026-11-25"]
    assert body["camera"] == cameras[MARKET]


def test_what_cameras_see_is_told_without_a_store(client, world, monkeypatch) -> None:
    """While the database does not answer states are told and days are missing; an operations alert is not made up."""

    def away(*_):
        raise StoreError("away")

    for name in ("of_day", "days_of", "page"):
        monkeypatch.setattr(rows, name, away)
    assert [camera["today"] for camera in listed(client).values()] == [None] * 3
    body = client.get(f"/api/v1/cameras/{MARKET}").json()
    assert (body["camera"]["state"], body["days"]) == ("seeing", [])
    assert client.get("/api/v1/operations").status_code == 503


def test_an_unknown_camera_is_a_problem(client) -> None:
    """No camera of that id is 404."""
    response = client.get("/api/v1/cameras/nobody")
    assert (response.status_code, response.json()["type"]) == (404, "urn:gridwatch:problem:unknown-camera")


def accept(client, camera_id, body=None, **options):
    return client.post(
        f"/api/v1/cameras/{camera_id}/accept-view", json={} if body is None else body, **options
    )


def test_a_view_is_accepted_by_an_operator_and_the_log_says_who(client, world) -> None:
    """The camera is told, the answer is its state before, and name and reason stand in the log."""
    world.sight.states[BRIDGE] = SightState.DEGRADED
    world.sight.more[BRIDGE] = {"fault": Fault.MOVED, "zones_suspended": True}
    headers = {"Authorization": f"Bearer {world.token(Role.OPERATOR, 'op-07')}"}
    with structlog.testing.capture_logs() as logs:
        response = accept(client, BRIDGE, {"reason": " mended \n"}, headers=headers)
    assert (response.status_code, response.json()["fault"]) == (200, "moved")
    assert world.sight.accepted == [BRIDGE]
    assert [log for log in logs if log["event"] == "view_accepted"] == [
        {
            "event": "view_accepted",
            "log_level": "info",
            "camera_id": BRIDGE,
            "by": "op-07",
            "reason": "mended",
        }
    ]
    assert client.get(f"/api/v1/cameras/{BRIDGE}", headers=headers).json()["camera"]["state"] == "seeing"


@pytest.mark.parametrize("role", [Role.VIEWER, Role.INTEGRATOR])
def test_who_may_not_decide_accepts_no_view(client, world, role) -> None:
    """403, and the camera is not told."""
    headers = {"Authorization": f"Bearer {world.token(role)}"}
    assert accept(client, BRIDGE, headers=headers).status_code == 403
    assert accept(client, BRIDGE).status_code == 401
    assert world.sight.accepted == []


def test_only_a_camera_that_is_watched_has_a_view(client, world, monkeypatch) -> None:
    """404 for an unknown id and where nobody judges the camera's picture; 422 for a body that says something else."""
    assert accept(client, "nobody").status_code == 404
    assert accept(client, BRIDGE, {"resaon": "x"}).status_code == 422
    assert world.sight.accepted == []
    world.sight.more[BRIDGE] = {"fault": Fault.MOVED, "zones_suspended": True}
    monkeypatch.setattr(world.sight, "accept_view", lambda _: False)
    assert accept(client, BRIDGE).json()["type"] == "urn:gridwatch:problem:unknown-camera"


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"fault": Fault.COVERED, "zones_suspended": True}, "clear the lens first"),
        ({"fault": Fault.BLURRED}, "draw its zones anew"),
        ({"fault": Fault.FROZEN, "zones_suspended": True}, "mend that first"),
        ({}, "nothing has to be done"),
    ],
)
def test_what_a_camera_shows_is_accepted_only_where_it_is_moved_or_elsewhere(
    client, world, more, says
) -> None:
    """409 that says what to do, and the camera is not told: a cover that became home would never be found out."""
    world.sight.more[BRIDGE] = more
    response = accept(client, BRIDGE)
    body = response.json()
    assert (response.status_code, body["type"]) == (409, "urn:gridwatch:problem:no-other-view")
    assert says in body["detail"]
    assert body["fault"] == more.get("fault")
    assert world.sight.accepted == []
    world.sight.more[BRIDGE] = {"fault": Fault.ELSEWHERE, "zones_suspended": True}
    assert accept(client, BRIDGE).status_code == 200
    assert world.sight.accepted == [BRIDGE]


@pytest.mark.parametrize(
    ("run_mode", "found"),
    [(None, [MARKET]), ("exercise", [MARKET]), ("test", [BRIDGE]), ("actual", []), ("any", [BRIDGE, MARKET])],
)
def test_exercises_of_a_test_camera_stand_in_nobodys_way(client, world, run_mode, found) -> None:
    """Alerts of another run mode than the machine's are listed only where they are asked for."""
    world.places[BRIDGE] = replace(world.places[BRIDGE], run_mode="test")
    world.open(Kind.FIRE, MARKET, still=False)
    made = world.open(Kind.FIRE, BRIDGE, still=False)
    assert made.run_mode == "test"
    params = {} if run_mode is None else {"run_mode": run_mode}
    items = client.get("/api/v1/alerts", params=params).json()["items"]
    assert [alert["camera_id"] for alert in items] == found
    assert client.get(f"/api/v1/alerts/{made.id}").status_code == 200


def test_run_modes_of_one_place_are_two_incidents(world) -> None:
    """A camera that becomes a test camera opens an incident of its own beside the one that is open."""
    first = world.open(Kind.FIRE, BRIDGE, still=False)
    world.places[BRIDGE] = replace(world.places[BRIDGE], run_mode="test")
    second = world.open(Kind.FIRE, BRIDGE, still=False)
    assert first.id != second.id
    assert (first.run_mode, second.run_mode) == ("exercise", "test")
