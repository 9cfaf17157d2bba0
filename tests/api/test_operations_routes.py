# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations alerts over HTTP: grouped, in both languages, in pages, and apart from the alerts."""

import pytest

from events.operations import Operations
from events.roles import Role
from gridwatch.core.camera import Fault, SightState

MARKET, BRIDGE, HARBOUR = "34020000001320000001", "34020000001320000002", "34020000001320000003"
HOSTS = {MARKET: "10.1.2.1:554", BRIDGE: "10.1.2.2:554", HARBOUR: "10.7.7.7:554"}


@pytest.fixture
def troubled(world):
    """Two cameras behind one switch are away, and one lens is covered; a minute and a half ago."""
    world.sight.states |= dict.fromkeys(HOSTS, SightState.BLIND)
    world.sight.more = {
        MARKET: {"fault": Fault.SILENT},
        BRIDGE: {"fault": Fault.UNREACHABLE},
        HARBOUR: {"fault": Fault.COVERED},
    }
    world.sight.reasons[MARKET] = "nothing came for 10 s"
    world.operations_book = Operations(world.store, world.clock)
    for _ in range(10):
        world.clock.advance(10)
        world.operations_book.step(world.sight.statuses(), HOSTS)
    return world


def test_a_storm_is_one_alert_with_its_cameras(client, troubled) -> None:
    """Kind, where, since when, how many, which, and what it is in Chinese and English."""
    items = client.get("/api/v1/operations").json()["items"]
    assert {(one["kind"], one["where"], one["count"]) for one in items} == {
        ("connection", "10.1.2.0/24", 2),
        ("picture", "10.7.7.7:554", 1),
    }
    storm = next(one for one in items if one["kind"] == "connection")
    assert storm["title"] == {
        "zh": "10.1.2.0/24：2 路摄像机没有画面",
        "en": "10.1.2.0/24: no stream from 2 cameras",
    }
    assert storm["faults"] == {"silent": 1, "unreachable": 1}
    assert [(one["subject"], one["name"], one["fault"]) for one in storm["members"]] == [
        (MARKET, "东门市场 1 号", "silent"),
        (BRIDGE, "环城桥 2 号", "unreachable"),
    ]
    assert (storm["began_at"], storm["ended_at"]) == ("2026-11-26T01:55:00Z", None)
    assert client.get("/api/v1/alerts").json()["items"] == []


def test_what_is_over_leaves_the_open_list(client, troubled) -> None:
    """`open` shows what goes on; without it the record stays, with its end."""
    troubled.sight.states[HARBOUR] = SightState.SEEING
    troubled.sight.more[HARBOUR] = {}
    for _ in range(5):
        troubled.clock.advance(10)
        troubled.operations_book.step(troubled.sight.statuses(), HOSTS)
    assert [one["kind"] for one in client.get("/api/v1/operations?open=true").json()["items"]] == [
        "connection"
    ]
    ended = client.get("/api/v1/operations?kind=picture").json()["items"][0]
    assert (ended["count"], ended["most"], ended["ended_at"]) == (0, 1, ended["updated_at"])


def test_operations_come_in_pages(client, troubled) -> None:
    """A cursor goes on; what is none is refused."""
    first = client.get("/api/v1/operations?limit=1").json()
    second = client.get("/api/v1/operations", params={"limit": 1, "cursor": first["next"]}).json()
    assert first["items"][0]["id"] != second["items"][0]["id"]
    assert second["next"] is None
    assert client.get("/api/v1/operations?cursor=x").status_code == 400


@pytest.mark.parametrize("path", ["/api/v1/operations", "/api/v1/cameras", f"/api/v1/cameras/{MARKET}"])
def test_only_who_may_see_is_told(client, world, path) -> None:
    """A viewer is; a program that only exchanges messages is not, and without a token nobody."""
    viewer, integrator = world.token(Role.VIEWER, "wall"), world.token(Role.INTEGRATOR, "desk")
    world.clock.advance(1)
    answers = {
        name: client.get(path, headers={"Authorization": f"Bearer {token}"}).status_code
        for name, token in (("viewer", viewer), ("integrator", integrator))
    }
    assert answers == {"viewer": 200, "integrator": 403}
    assert client.get(path).status_code == 401
