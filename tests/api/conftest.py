# SPDX-License-Identifier: AGPL-3.0-or-later
"""A small city for the API: a real store, book and evidence folder; only the cameras' sight is scripted."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from fastapi import FastAPI
from playwright.sync_api import Browser, sync_playwright
from prometheus_client import CollectorRegistry

from api.access import Access, Caller, Right
from api.application import create_app
from api.guard import AccessPolicy
from api.metrics import ApiMetrics
from api.operations import Operations
from api.server import ApiServer
from api.services import Services
from api.signing import Signer
from events.alerts import Alert
from events.evidence import EvidenceStore, Shot
from events.grids import Grids
from events.incidents import IncidentBook, Policy
from events.messages import CaseReply
from events.reading import AlertReader
from events.roles import Role
from events.stores.sql import Store
from events.tokens import TokenBook
from gridwatch.core.camera import Camera, CameraStatus, Location, SightState
from gridwatch.core.clock import ManualClock
from gridwatch.core.finding import Box, Finding, Stage
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind
from tests.servers import missing

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
START = datetime(2026, 11, 26, 2, 0, 0, tzinfo=UTC)
MARKET, BRIDGE, HARBOUR = "34020000001320000001", "34020000001320000002", "34020000001320000003"
NAMES = {MARKET: "东门市场 1 号", BRIDGE: "环城桥 2 号", HARBOUR: "河港 3 号"}
SUBTYPES = {Kind.FIRE: "flame", Kind.SMOKE: "smoke", Kind.CROWD: "count", Kind.TRAFFIC: "stopped_vehicle"}
LABELS = {Kind.FIRE: "fire", Kind.SMOKE: "smoke", Kind.CROWD: "person", Kind.TRAFFIC: "car"}
GRIDS = """{"type": "FeatureCollection", "features": [{"type": "Feature",
  "properties": {"grid_id": "510117004003012", "name": "望丛社区第三网格", "division_code": "510117"},
  "geometry": {"type": "Polygon", "coordinates": [[[103, 30], [104, 30], [104, 31], [103, 31], [103, 30]]]}}]}"""


class Painted:
    """A frame of one colour with a bright box; `ingest` has the real one."""

    def __init__(self, shade: int, width: int = 640, height: int = 360) -> None:
        self._shade, self.width, self.height = shade, width, height

    def luma(self) -> np.ndarray:
        return np.full((self.height, self.width), self._shade, np.uint8)

    def view(self, width: int, height: int) -> np.ndarray:
        picture = np.full((height, width, 3), self._shade, np.uint8)
        picture[: height // 2, :, 0] = 120
        picture[height // 3 : height // 2, width // 3 : width // 2] = (40, 140, 250)
        return picture


class ScriptedSight:
    """What the cameras see, as a test says."""

    def __init__(self) -> None:
        self.states = dict.fromkeys(NAMES, SightState.SEEING)
        self.ages: dict[str, float | None] = {MARKET: 1.5, BRIDGE: 3.25, HARBOUR: 0.5}
        self.reasons: dict[str, str] = {}
        self.pictures: dict[str, bytes] = {}
        self.more: dict[str, dict[str, Any]] = {}
        self.accepted: list[str] = []

    def statuses(self) -> list[CameraStatus]:
        return [
            CameraStatus(**(self._usual(camera_id, state) | self.more.get(camera_id, {})))
            for camera_id, state in self.states.items()
        ]

    def _usual(self, camera_id: str, state: SightState) -> dict[str, Any]:
        return {
            "camera_id": camera_id,
            "name": NAMES[camera_id],
            "state": state,
            "reason": self.reasons.get(camera_id, ""),
            "since": START - timedelta(minutes=5),
            "last_look_at": START,
            "last_look_age_s": self.ages[camera_id],
        }

    def picture(self, camera_id: str) -> bytes | None:
        return self.pictures.get(camera_id)

    def accept_view(self, camera_id: str) -> bool:
        self.accepted.append(camera_id)
        self.states[camera_id] = SightState.SEEING
        self.more.pop(camera_id, None)
        return True


class World:
    """Everything behind the API, and the hand that makes things happen."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock(START)
        self.store = Store.open(f"sqlite:///{folder / 'gridwatch.db'}")
        self.evidence = EvidenceStore(folder / "evidence")
        grid_file = folder / "grids.geojson"
        grid_file.write_text(GRIDS, encoding="utf-8")
        self.grids = Grids.load(grid_file)
        self.policy = Policy(source_id="51011700005020000001", run_mode="exercise")
        self.places = {camera_id: _camera(camera_id) for camera_id in NAMES}
        self.book = IncidentBook(
            self.store,
            self.clock,
            places=self.places,
            grids=self.grids,
            evidence=self.evidence,
            policy=self.policy,
        )
        self.alerts = AlertReader(self.store)
        self.tokens = TokenBook(self.store, self.clock)
        self.sight = ScriptedSight()
        self.reasons: list[str] = []
        self.registry = CollectorRegistry()
        self._findings = 0
        self._claimed: dict[str, Finding] = {}

    def services(self) -> Services:
        return Services(
            alerts=self.alerts,
            book=self.book,
            evidence=self.evidence,
            live=self.sight,
            control=self.sight,
            grids=self.grids,
            clock=self.clock,
            tokens=self.tokens,
            signer=Signer(bytes(32)),
            registry=self.registry,
            ready=lambda: self.reasons,
            backlog=lambda: (3, 12.5),
            run_mode="exercise",
            places=lambda: self.places,
        )

    def operations(self, metrics: ApiMetrics | None = None) -> Operations:
        """Return what a page calls, for somebody at this machine before there are tokens."""
        services = self.services()
        access = Access(services.tokens, services.signer, services.clock)
        somebody = Caller("console", frozenset(Right))
        return Operations(services, metrics or ApiMetrics(self.registry), access, somebody)

    def token(self, role: Role, name: str = "op-07", days: float = 30) -> str:
        """Make a token."""
        return self.tokens.add(name, role, timedelta(days=days))[1]

    def open(
        self, kind: Kind = Kind.FIRE, camera_id: str = MARKET, *, still: bool = True, boxes: int = 1
    ) -> Alert:
        """Let a detector open an incident, one second later than the last."""
        self._findings += 1
        self.clock.advance(1.0)
        finding = Finding(
            finding_id=f"finding-{self._findings}",
            camera_id=camera_id,
            kind=kind,
            subtype=SUBTYPES[kind],
            zone_id="south",
            zone_name="南侧",
            stage=Stage.OPENED,
            at=self.clock.now(),
            at_mono_s=self.clock.mono_s(),
            began_at=self.clock.now() - timedelta(seconds=4),
            confidence=0.83 if kind is Kind.FIRE else None,
            boxes=(Box(0.33, 0.33, 0.5, 0.5, LABELS[kind], 0.83),) * boxes,
            facts={"looks_in_favour": 5, "looks_taken": 6, "area_share": 0.0289},
        )
        opened = self.book.record(finding, Painted(60 + self._findings) if still else None)
        assert opened is not None
        self._claimed[opened.id] = finding
        return self.alerts.get(opened.id)

    def end(self, alert: Alert) -> None:
        """Let the detector that opened an incident say that it is over."""
        self.clock.advance(60.0)
        last = self._claimed[alert.id]
        self.book.record(
            replace(last, stage=Stage.ENDED, at=self.clock.now(), at_mono_s=self.clock.mono_s()), None
        )

    def show_main(self, alert: Alert, *, clip: bool = True) -> Alert:
        """Let the camera's main stream show the incident, where a smaller one is looked at."""
        shot = Shot(Painted(90, 1280, 720), (), self.clock.now())
        self.book.attach_detail(alert.id, shot, b"\0\0\0\x18ftypmp42main" if clip else None)
        return self.alerts.get(alert.id)

    def reply(
        self, alert: Alert, word: str = "accepted", revision: int = 1, **data: object
    ) -> dict[str, str]:
        """Return an entry of the reply stream."""
        body = {"incident_id": alert.id, "case_id": "AJ-1", "case_revision": revision} | data
        return {
            "specversion": "1.0",
            "id": f"r{revision}",
            "source": "urn:case-desk:test",
            "type": f"cn.gridwatch.case.{word}.v1",
            "subject": alert.id,
            "time": "2026-11-26T10:00:00.000+08:00",
            "datacontenttype": "application/json",
            "data": json.dumps(body, ensure_ascii=False),
        }

    def answer(self, alert: Alert, state: str, case_revision: int) -> None:
        """Let a case system answer."""
        data = (
            f'{{"incident_id": "{alert.id}", "case_id": "DESK-1", "case_revision": {case_revision}, '
            f'"at": "2026-11-26T10:00:00+08:00", "answers": null, "unit": {{"code": "U1", "name": "城南消防站"}}}}'
        )
        fields = {
            "specversion": "1.0",
            "id": f"r{case_revision}",
            "source": "urn:case-desk:test",
            "type": f"cn.gridwatch.case.{state}.v1",
            "subject": alert.id,
            "time": "2026-11-26T10:00:00.000+08:00",
            "datacontenttype": "application/json",
            "data": data,
        }
        assert self.book.answer(CaseReply.parse(fields)) == "recorded"


def _camera(camera_id: str) -> Camera:
    inside = Location(103.5, 30.5) if camera_id == MARKET else None
    return Camera(
        camera_id,
        NAMES[camera_id],
        SecretUrl("rtsp://x:y@127.0.0.1/"),
        location=inside,
        address_text="望丛中路 18 号",
    )


@pytest.fixture
def world(tmp_path: Path, empty_file: Path) -> Iterator[World]:
    shutil.copy(empty_file, tmp_path / "gridwatch.db")
    city = World(tmp_path)
    yield city
    city.store.close()


class InProcess:
    """Calls the application without sockets: quick, for all that needs none."""

    def __init__(self, portal: BlockingPortal, app: FastAPI) -> None:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")
        self._portal = portal

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._portal.call(partial(self._http.request, method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> httpx.Response:
        return self.request("POST", path, **options)


@pytest.fixture(scope="session")
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as running:
        yield running


@pytest.fixture
def app(world: World) -> FastAPI:
    policy = AccessPolicy(hosts=("desk.example",), origins=("https://desk.example:8443",))
    return create_app(world.services(), policy=policy, console=False)


@pytest.fixture
def client(portal: BlockingPortal, app: FastAPI) -> InProcess:
    return InProcess(portal, app)


@pytest.fixture
def server(app: FastAPI) -> Iterator[ApiServer]:
    running = ApiServer(app, "127.0.0.1", 0)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def console(world) -> Iterator[ApiServer]:
    """The API and the console of the small city, served."""
    server = ApiServer(create_app(world.services()), "127.0.0.1", 0)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")  # not longer: Playwright keeps an event loop, beside which no other can run
def browser() -> Iterator[Browser]:
    """Debian's Chromium, which sends nothing of its own."""
    found = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if found is None:
        missing(f"no browser found (looked for {', '.join(BROWSERS)})")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=BROWSER_FLAGS)
        yield running
        running.close()
