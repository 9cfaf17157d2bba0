# SPDX-License-Identifier: AGPL-3.0-or-later
"""From another machine: a second network namespace reaches console, API, evidence and both ways of the queue, by token."""

import json
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
import redis
from playwright.sync_api import expect, sync_playwright

from events.evidence import EvidenceStore
from events.grids import Grids
from events.incidents import IncidentBook
from events.policy import Policy
from events.queues.embedded import _program
from events.stores.sql import Store
from gridwatch.core.clock import SystemClock
from gridwatch.core.finding import Box, Finding, Stage
from gridwatch.core.zone import Kind
from tests.servers import missing

pytestmark = pytest.mark.timeout(400)

SOURCE_ID = "51011700005020000001"
START_S = 180.0
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]


class Painted:
    """A picture of one colour."""

    width, height = 640, 360

    def luma(self):
        return np.full((self.height, self.width), 90, np.uint8)

    def view(self, width, height):
        return np.full((height, width, 3), 90, np.uint8)


# the second machine


@dataclass(frozen=True)
class OtherMachine:
    """A network namespace that reaches this one by one wire.

    Attributes:
        ours: the address of this machine on the wire.
    """

    name: str
    ours: str

    def command(self, *command: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, *command]


def ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr.strip()}"


@pytest.fixture(scope="module")
def other_machine() -> Iterator[OtherMachine]:
    """Make a second network namespace; where the kernel refuses one, say why there is none."""
    if shutil.which("ip") is None:
        missing("iproute2 is not installed: no network namespace can be made")
    tag = secrets.token_hex(3)
    name, ours, theirs = f"gridwatch-{tag}", f"gwa{tag}", f"gwb{tag}"
    network = f"198.18.{secrets.randbelow(256)}"  # RFC 2544: nobody's network
    made = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
    if made.returncode != 0:
        pytest.skip(f"network namespaces cannot be made here: {made.stderr.strip()}")
    try:
        ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", name)
        ip("address", "add", f"{network}.1/30", "dev", ours)
        ip("link", "set", ours, "up")
        ip("-n", name, "address", "add", f"{network}.2/30", "dev", theirs)
        ip("-n", name, "link", "set", theirs, "up")
        ip("-n", name, "link", "set", "lo", "up")
        yield OtherMachine(name, f"{network}.1")
    finally:
        subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)
        subprocess.run(["ip", "link", "del", ours], check=False, capture_output=True)


# this machine


@dataclass(frozen=True)
class House:
    """A gridwatch that runs, and what somebody at another machine was told of it."""

    url: str
    redis_url: str
    alert_id: str
    tokens: dict[str, str]
    log: Path


@pytest.fixture(scope="module")
def house(other_machine, tmp_path_factory) -> Iterator[House]:
    """Run gridwatch on the wire's address, with a Redis there, one recorded incident, and a token for each role."""
    folder = tmp_path_factory.mktemp("house")
    redis_port, api_port = free_port(other_machine.ours), free_port(other_machine.ours)
    password = secrets.token_hex(8)
    server = start_redis(folder, other_machine.ours, redis_port, password)
    watching: subprocess.Popen[bytes] | None = None
    try:
        config = folder / "gridwatch.yaml"
        config.write_text(
            f"""
source_id: "{SOURCE_ID}"
run_mode: exercise
queue: {{url: "redis://:{password}@{other_machine.ours}:{redis_port}"}}
api: {{host: {other_machine.ours}, port: {api_port}, names: [gridwatch.example.cn]}}
models: {{threads: 1}}
""",
            encoding="utf-8",
        )
        camera = '{id: "34020000001320000001", name: 东门, url: "rtsp://127.0.0.1:9/none"}'
        (folder / "cameras.yaml").write_text(f"cameras: [{camera}]\n", encoding="utf-8")
        alert_id = record_one(folder / "run")
        refused = gridwatch("run", "-c", str(config))
        assert refused.returncode == 2, refused.stderr
        assert "there is no token" in refused.stderr
        tokens = {role: made_token(config, role) for role in ("operator", "viewer", "integrator")}
        log = folder / "log.txt"
        with log.open("wb") as out:
            command = [sys.executable, "-m", "gridwatch.app.cli", "run", "-c", str(config)]
            watching = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
        url = f"http://{other_machine.ours}:{api_port}"
        wait_until_up(url, watching, log)
        redis_url = f"redis://:{password}@{other_machine.ours}:{redis_port}"
        yield House(url, redis_url, alert_id, tokens, log)
    finally:
        for process in (watching, server):
            if process is not None:
                process.terminate()
                process.wait(60)


def free_port(address: str) -> int:
    with socket.socket() as asked:
        asked.bind((address, 0))
        return int(asked.getsockname()[1])


def start_redis(folder: Path, address: str, port: int, password: str) -> subprocess.Popen[bytes]:
    """Start a server on the wire's address that wants a password."""
    options = [
        "--bind",
        address,
        "--port",
        str(port),
        "--requirepass",
        password,
        "--save",
        "",
        "--dir",
        str(folder),
    ]
    server = subprocess.Popen([str(_program()), *options], stdout=subprocess.DEVNULL)
    client = redis.Redis(host=address, port=port, password=password)
    deadline = time.monotonic() + START_S
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            client.close()
            return server


def record_one(state: Path) -> str:
    """Record a fire with its picture, as the pipeline of an earlier run would have."""
    state.mkdir()
    clock = SystemClock()
    now = clock.now()
    finding = Finding(
        finding_id="f1",
        camera_id="34020000001320000001",
        kind=Kind.FIRE,
        subtype="flame",
        zone_id="z",
        zone_name="东门",
        stage=Stage.OPENED,
        at=now,
        at_mono_s=clock.mono_s(),
        began_at=now,
        confidence=0.9,
        boxes=(Box(0.1, 0.2, 0.3, 0.4, "fire", 0.9),),
        facts={"looks_in_favour": 3, "looks_taken": 4},
    )
    with Store.open(f"sqlite:///{state / 'gridwatch.db'}") as store:
        evidence = EvidenceStore(state / "evidence")
        policy = Policy(source_id=SOURCE_ID, run_mode="exercise")
        book = IncidentBook(store, clock, places={}, grids=Grids.none(), evidence=evidence, policy=policy)
        alert = book.record(finding, Painted())
    assert alert is not None
    return alert.id


def gridwatch(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gridwatch.app.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=START_S)


def made_token(config: Path, role: str) -> str:
    made = gridwatch("tokens", "add", f"the-{role}", "--role", role, "--days", "1", "-c", str(config))
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def wait_until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            httpx.get(f"{url}/healthz", timeout=5, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            assert process.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < deadline, log.read_text(encoding="utf-8")
            time.sleep(0.2)
        else:
            return


# what somebody at the other machine does; a program of its own, because a namespace is a process's

VISITOR = """
import hashlib, json, sys, time
import httpx, redis

told = json.load(sys.stdin)
alert, tokens, seen = told["alert_id"], told["tokens"], {}


def caller(role):
    headers = {} if role is None else {"Authorization": "Bearer " + tokens[role]}
    return httpx.Client(base_url=told["url"], headers=headers, timeout=60, trust_env=False)


def until(ask, wanted):
    ends = time.monotonic() + 90
    while (got := ask()) != wanted and time.monotonic() < ends:
        time.sleep(0.1)
    return got


nobody, operator, viewer, desk = (caller(role) for role in (None, "operator", "viewer", "integrator"))
path = "/api/v1/alerts/" + alert


def reply(word, revision):
    data = {"incident_id": alert, "case_id": "AJ-1", "case_revision": revision, "outcome": "stored"}
    return {"specversion": "1.0", "id": "r%d" % revision, "source": "urn:case-desk:far", "subject": alert,
            "type": "cn.gridwatch.case.%s.v1" % word, "datacontenttype": "application/json",
            "time": "2026-11-26T10:00:00.000+08:00", "data": json.dumps(data)}


def case():
    return operator.get(path).json()["case"]


seen["free"] = [nobody.get(one).status_code for one in ("/healthz", "/api/v1/alerts", "/docs", "/metrics")]
seen["console_leads_to"] = nobody.get("/", headers={"Accept": "text/html"}).headers["location"]
seen["foreign_name"] = viewer.get("/api/v1/alerts", headers={"Host": "evil.example"}).status_code
seen["own_name"] = viewer.get("/api/v1/alerts", headers={"Host": "gridwatch.example.cn"}).status_code
seen["listed"] = [one["id"] for one in viewer.get("/api/v1/alerts").json()["items"]]
seen["picture"] = operator.get(path + "/still").headers["content-type"]
with operator.stream("GET", "/api/v1/alerts/stream") as stream:
    seen["stream"] = next(line for line in stream.iter_lines() if line.startswith("event:"))

page = desk.get("/api/v1/case-messages").json()
seen["messages"] = [one["subject"] for one in page["items"]]
media = json.loads(page["items"][0]["data"])["media"][0]
fetched = desk.get(media["uri"])
seen["evidence"] = [fetched.status_code, hashlib.sha256(fetched.content).hexdigest() == media["sha256"]]
seen["evidence_unasked"] = nobody.get(media["uri"]).status_code
link = desk.post("/api/v1/evidence-links", json={"sha256": media["sha256"], "valid_s": 300}).json()["url"]
seen["evidence_by_link"] = nobody.get(link).content == fetched.content
seen["reply_by_http"] = desk.post("/api/v1/case-replies", json=reply("reported", 1)).json()["items"][0]["outcome"]
seen["case_after_http"] = case()

revision = operator.get(path).json()["revision"]
refused = viewer.post(path + "/confirm", json={}, headers={"If-Match": '"%d"' % revision})
decided = operator.post(path + "/confirm", json={}, headers={"If-Match": '"%d"' % revision})
seen["decided"] = [refused.status_code, decided.status_code, decided.json()["decided"]["by"]]
after = {"after": page["next"], "epoch": page["epoch"], "wait_s": 20}
told_of = desk.get("/api/v1/case-messages", params=after).json()["items"]
seen["told_of"] = [one["type"] for one in told_of]

queue = redis.Redis.from_url(told["redis_url"], decode_responses=True)
wanted = page["items"] + told_of
got = until(lambda: [fields for _, fields in queue.xrange("gridwatch:cases")], wanted)
seen["same_by_redis"] = got == wanted
queue.xadd("gridwatch:case-replies", reply("accepted", 2))
seen["case_after_redis"] = until(case, "accepted")
print(json.dumps(seen))
"""


def test_another_machine_reaches_api_evidence_and_both_ways_of_the_queue(other_machine, house):
    """With tokens, and only with them: alerts, pictures, changes, decisions, messages and answers, by HTTP and by Redis."""
    told = {
        "url": house.url,
        "redis_url": house.redis_url,
        "alert_id": house.alert_id,
        "tokens": house.tokens,
    }
    visit = subprocess.run(
        other_machine.command(sys.executable, "-c", VISITOR),
        input=json.dumps(told),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert visit.returncode == 0, visit.stderr + house.log.read_text(encoding="utf-8")
    seen = json.loads(visit.stdout.splitlines()[-1])
    assert seen["free"] == [200, 401, 401, 401]
    assert seen["console_leads_to"] == "/login"
    assert (seen["foreign_name"], seen["own_name"]) == (421, 200)
    assert seen["listed"] == [house.alert_id]
    assert seen["picture"] == "image/jpeg"
    assert seen["stream"] == "event: ready"
    assert set(seen["messages"]) == {house.alert_id}
    assert seen["evidence"] == [200, True]
    assert seen["evidence_unasked"] == 401
    assert seen["evidence_by_link"]
    assert (seen["reply_by_http"], seen["case_after_http"]) == ("recorded", "reported")
    assert seen["decided"] == [403, 200, "the-operator"]
    assert seen["told_of"] == ["cn.gridwatch.incident.confirmed.v1"]
    assert seen["same_by_redis"]
    assert seen["case_after_redis"] == "accepted"
    assert "door_without_tls" in house.log.read_text(encoding="utf-8")


def test_the_console_opens_in_a_browser_of_another_machine(other_machine, house, tmp_path):
    """A token typed once shows the alert and its picture, and the page's socket works over the wire."""
    chromium = next((path for name in ("chromium", "chromium-browser") if (path := shutil.which(name))), None)
    if chromium is None:
        missing("no browser found")
    there = tmp_path / "chromium"
    there.write_text(
        f'#!/bin/sh\nexec ip netns exec {other_machine.name} {chromium} "$@"\n', encoding="utf-8"
    )
    there.chmod(0o755)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=there, args=FLAGS, timeout=90_000)
        page = browser.new_page(locale="zh-CN")
        page.set_default_timeout(90_000)
        page.goto(house.url)
        page.locator("#token").fill(house.tokens["operator"])
        page.keyboard.press("Enter")
        expect(page.locator(f'.gw-row[data-arg="{house.alert_id}"]')).to_be_visible(timeout=90_000)
        page.wait_for_function("() => window.socket && window.socket.connected")
        page.wait_for_function("() => document.querySelector('.gw-picture img')?.naturalWidth === 640")
        expect(page.locator(".gw-who")).to_contain_text("the-operator")
        browser.close()
