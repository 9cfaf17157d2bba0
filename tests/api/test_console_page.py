# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console's page as HTTP sees it: what it loads, its headers, its websocket's door, and its language."""

import asyncio
import re
from collections.abc import Iterator

import httpx
import pytest
from prometheus_client import CollectorRegistry
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from api.console.page import ConsolePage
from api.console.texts import Language, Words
from api.errors import TooManyListeners
from api.feed import JournalFeed
from api.metrics import ApiMetrics
from api.server import ApiServer
from events.errors import DecisionConflict, StoreError, UnknownIncident, UnknownRevision
from gridwatch.core.zone import Kind


@pytest.fixture
def http(console: ApiServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=console.url, timeout=10, trust_env=False) as client:
        yield client


def test_the_page_names_no_other_server(http, world) -> None:
    """Every address in the page is this server's own, and what it loads is served from here."""
    world.open(Kind.FIRE)
    page = http.get("/")
    assert page.status_code == 200
    assert "疑似明火" in page.text
    outside = set(re.findall(r"(?:https?|wss?)://[^\s\"'`<>\\\\]+", page.text))
    assert {address for address in outside if "www.w3.org" not in address} == set()
    loaded = set(re.findall(r'(?:src|href)="(/[^"]+)"|@import url\("(/[^"]+)"', page.text))
    paths = {first or second for first, second in loaded}
    assert any("console.css" in path for path in paths)
    assert {path: http.get(path).status_code for path in paths} == dict.fromkeys(paths, 200)


def test_the_page_may_load_only_from_itself(http) -> None:
    """The page's policy lets nothing in from outside and nobody frame it; no cookie is set by the server."""
    page = http.get("/")
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["object-src"] == "'none'"
    assert page.headers["x-frame-options"] == "DENY"
    assert "set-cookie" not in page.headers


def test_the_console_owns_its_paths_only(http) -> None:
    """What is neither API nor console is a problem, not a page of the console's library."""
    for path in ("/elsewhere", "/api/v1/nothing", "/console/nothing"):
        response = http.get(path)
        assert response.status_code == 404
        assert response.headers["content-type"] == "application/problem+json"
    assert http.post("/api/v1/alerts", json={}).status_code == 405


@pytest.mark.parametrize(
    ("headers", "path", "shown"),
    [
        ({"Accept-Language": "en-GB"}, "/", "Confirm"),
        ({"Accept-Language": "zh-CN"}, "/", "确认"),
        ({"Cookie": "gridwatch_language=en"}, "/", "Confirm"),
        ({"Accept-Language": "en"}, "/?lang=zh", "确认"),
        ({}, "/", "确认"),
    ],
)
def test_the_language_follows_the_browser(http, world, headers, path, shown) -> None:
    """Chinese unless the browser, the cookie or the address asks for English."""
    world.open(Kind.CROWD, still=False)
    assert f">{shown} <kbd>" in http.get(path, headers=headers).text.replace("&lt;", "<").replace("&gt;", ">")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({}, 403),
        ({"Host": "evil.example"}, 403),
    ],
)
def test_a_foreign_page_gets_no_websocket(console, headers: dict[str, str], status: int) -> None:
    """The console's socket opens for the page's own origin only."""
    address = f"ws://127.0.0.1:{console.port}/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
    with pytest.raises(InvalidStatus) as refused, connect(address, additional_headers=headers, proxy=None):
        pass
    assert refused.value.response.status_code == status
    with connect(address, additional_headers={"Origin": console.url}, proxy=None) as socket:
        assert str(socket.recv(timeout=5)).startswith("0{")


def test_polling_from_a_foreign_page_is_refused(http) -> None:
    """The socket's polling fallback asks for the same origin as the socket."""
    path = "/_nicegui_ws/socket.io/?EIO=4&transport=polling"
    assert http.get(path, headers={"Origin": "https://evil.example"}).status_code == 403
    assert http.get(path).status_code == 200


def test_a_page_that_never_connects_leaves_no_listener(http, console) -> None:
    """Fetching the page without a browser costs nothing that stays."""
    http.get("/")
    assert console._app.state.feed._listeners == set()


def test_a_decision_that_was_refused_says_why(world) -> None:
    """Each refusal has its own words; what is not the store's fault is not blamed on it."""
    words, services, metrics = Words(Language.ZH), world.services(), ApiMetrics(world.registry)
    page = ConsolePage(world.operations(metrics), JournalFeed(world.alerts, metrics), services, words)
    refusals = [
        page._refusal(error)
        for error in (
            StoreError("away"),
            UnknownIncident("x"),
            UnknownRevision(5, 2),
            DecisionConflict("op-09", world.clock.now(), "dismissed", 2),
        )
    ]
    keys = ("refused.store", "refused.gone", "refused.unseen")
    assert refusals[:3] == [words(key) for key in keys]
    assert "op-09" in refusals[3]
    assert "已排除" in refusals[3]


def test_a_page_without_a_place_to_listen_asks_by_itself_and_says_so(world, monkeypatch) -> None:
    """Where no more listeners are taken the lists are read again all the same; with a place the page is live again."""
    steps: list[str] = []

    class Shown:
        content = ""

        def set_content(self, content: str) -> None:
            self.content = content

    class Full:
        def listen(self):
            raise TooManyListeners("full")

    async def refresh() -> None:
        steps.append(page._not_live.content)

    async def sleep(_seconds: float) -> None:
        steps.append("slept")

    words, metrics = Words(Language.EN), ApiMetrics(CollectorRegistry())
    page = ConsolePage(world.operations(metrics), Full(), world.services(), words)
    page._not_live = Shown()
    monkeypatch.setattr(page, "refresh", refresh)
    monkeypatch.setattr("api.console.page.asyncio.sleep", sleep)
    asyncio.run(page._follow())
    assert len(steps) == 2
    assert "not live" in steps[0]
    assert steps[1] == "slept"
