# SPDX-License-Identifier: AGPL-3.0-or-later
"""The cameras' page: what fails together first, red and green, blind minutes, the last picture, and keys."""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta

import cv2
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect
from prometheus_client import CollectorRegistry

from api.console.cameras_snapshot import CamerasSnapshotReader, is_troubled
from api.console.cameras_view import Accepting, chosen_html, list_html
from api.console.sight_texts import SIGHT_TEXTS
from api.console.texts import Language, Words
from api.metrics import ApiMetrics
from api.server import ApiServer
from events.errors import StoreError
from events.operations import Operations
from events.roles import Role
from events.stores import operations as rows
from events.troubles import TroubleKind
from gridwatch.core.camera import Fault, Note, SightState
from gridwatch.core.coverage import CameraDay
from gridwatch.core.zone import Kind

pytestmark = pytest.mark.timeout(180)

ZH, EN = Words(Language.ZH), Words(Language.EN)
MARKET, BRIDGE, HARBOUR = "34020000001320000001", "34020000001320000002", "34020000001320000003"
HOSTS = {MARKET: "10.1.2.1:554", BRIDGE: "10.1.2.2:554", HARBOUR: "10.1.2.3:554"}
TODAY = date(2026, 11, 26)
_LONG_MS = 45_000


def jpeg(shade: int) -> bytes:
    picture = np.full((360, 640, 3), shade, np.uint8)
    picture[120:240, 200:440] = (60, 140, 230)
    return cv2.imencode(".jpg", picture)[1].tobytes()


def troubled(world) -> None:
    """Two cameras behind one switch are blind, the third sees; days are known."""
    world.sight.states |= {MARKET: SightState.BLIND, BRIDGE: SightState.BLIND}
    world.sight.reasons |= {MARKET: "nothing came for 10 s", BRIDGE: "connecting"}
    world.sight.more = {
        MARKET: {"fault": Fault.SILENT},
        BRIDGE: {"fault": Fault.UNREACHABLE, "last_look_at": None},
        HARBOUR: {"notes": (Note.RING_SHORT,)},
    }
    world.sight.pictures = {MARKET: jpeg(70), HARBOUR: jpeg(120)}
    book = Operations(world.store, world.clock)
    for _ in range(10):
        world.clock.advance(10)
        book.step(world.sight.statuses(), HOSTS)
    days = [
        CameraDay(
            camera_id=MARKET, day=TODAY - timedelta(days=n), seeing_s=80_000 - 900 * n, blind_s=570 + 900 * n
        )
        for n in range(9)
    ]
    book.add_days(days)


def read(world, chosen: str | None = None, *, only_troubled: bool = False, limit: int = 100):
    operations = world.operations(ApiMetrics(CollectorRegistry()))
    return CamerasSnapshotReader(operations, world.services()).read(
        chosen, limit, only_troubled=only_troubled
    )


def order(html: str) -> list[str]:
    return re.findall(r'data-arg="([^"]+)"', html)


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("fault", (*Fault, "clock_wrong", "main_stream_away", TroubleKind.INFERENCE, TroubleKind.CANARY)),
        ("note", Note),
        ("place", ("street", "market", "square", "school_gate", "road", "fast_road", "forest_edge", "yard")),
    ],
)
def test_every_word_has_its_text(group, words) -> None:
    """Each fault, note and place is read in Chinese and English; one that is added needs its words."""
    assert [word for word in words if f"{group}.{word}" not in SIGHT_TEXTS] == []


def test_what_fails_together_stands_first_then_what_does_not_see(world) -> None:
    """The storm once, then its cameras in red, then those that see; each part says how many there are."""
    troubled(world)
    snapshot = read(world)
    html = list_html(snapshot, snapshot.chosen_key, ZH)
    group = snapshot.groups[0].alert_id
    assert order(html) == [group, MARKET, BRIDGE, HARBOUR]
    for text in (
        "10.1.2.0/24：2 路摄像机没有画面",
        "没有数据 1",
        "看不见或降级 2",
        "看得见 1",
        "看不见 10 分",
    ):
        assert text in html
    assert html.count("gw-cam gw-is-seeing") == 1
    assert snapshot.chosen_key == group


def test_only_troubled_cameras_on_request(world) -> None:
    """The filter leaves what somebody should look after: no dome on patrol, nothing that was switched off."""
    troubled(world)
    world.sight.states[BRIDGE] = SightState.DEGRADED
    world.sight.more[BRIDGE] = {"fault": Fault.ELSEWHERE}
    world.sight.states[HARBOUR] = SightState.OFF
    world.sight.more[HARBOUR] = {"fault": Fault.SWITCHED_OFF}
    snapshot = read(world, only_troubled=True)
    assert [one.status.camera_id for one in snapshot.cameras] == [MARKET] == snapshot.troubled()
    for fault in (Fault.SET_ASIDE, Fault.UNAUTHORIZED):  # off, and nobody switched it off
        world.sight.more[HARBOUR] = {"fault": fault}
        assert is_troubled(world.sight.statuses()[2])


def test_a_long_list_says_how_many_are_left(world) -> None:
    """What is not listed is counted, and a button lists more."""
    snapshot = read(world, limit=1)
    assert (len(snapshot.cameras), snapshot.more) == (1, 2)
    assert "还有 2 路" in list_html(snapshot, None, ZH)


def test_one_camera_shows_its_picture_with_its_age_and_its_days(world) -> None:
    """The last still, since when it cannot see and why, today's blind minutes, and a bar for each day."""
    troubled(world)
    html = chosen_html(read(world, MARKET), ZH)
    assert f"/api/v1/cameras/{MARKET}/picture?at=2026-11-26T02" in html
    for text in ("已 10 秒没有收到数据", "看不见 · 没有数据", "9.5 分", "望丛社区第三网格", "最近一眼"):
        assert text in html
    assert html.count("gw-day") == 9 + 1
    english = chosen_html(read(world, MARKET), EN)
    assert "nothing came for 10 s" in english
    assert "blind today" in english
    assert "尚无画面" in chosen_html(read(world, BRIDGE), ZH)


@pytest.mark.parametrize(
    ("offset_s", "shown"), [(-0.03, "+0.0 s"), (0.04, "+0.0 s"), (-7.5, "-7.5 s"), (90.0, "+90.0 s")]
)
def test_a_clocks_offset_is_shown_with_its_sign(world, offset_s, shown) -> None:
    """To a tenth of a second; a clock that is right is not behind."""
    world.sight.more[HARBOUR] = {"clock_offset_s": offset_s}
    assert f">{shown}<" in chosen_html(read(world, HARBOUR), EN)


def test_a_storm_shows_whom_it_is_about(world) -> None:
    """Beside the list: since when, how many now and at most, and each camera with its fault."""
    troubled(world)
    snapshot = read(world)
    html = chosen_html(snapshot, ZH)
    assert order(html) == [MARKET, BRIDGE]
    assert "2 / 2" in html
    assert "没有数据 · 已 10 秒没有收到数据" in html


def test_a_camera_that_is_gone_gives_way(world) -> None:
    """Whatever was chosen and is no more is replaced by the first of the list; without cameras nothing is chosen."""
    assert read(world, "gone").chosen_key == MARKET
    world.sight.states.clear()
    snapshot = read(world)
    assert snapshot.chosen is None
    assert "没有配置摄像机" in list_html(snapshot, None, ZH)
    assert "未选择摄像机" in chosen_html(snapshot, ZH)


def test_cameras_are_shown_without_a_store(world, monkeypatch) -> None:
    """While the database does not answer the states stand, and what is unknown is called so."""
    troubled(world)

    def away(*_):
        raise StoreError("away")

    for name in ("of_day", "days_of", "page"):
        monkeypatch.setattr(rows, name, away)
    monkeypatch.setattr(type(world.alerts), "list", away)
    snapshot = read(world, MARKET)
    html = list_html(snapshot, MARKET, ZH)
    assert "运行告警情况不明" in html
    assert (snapshot.pending, snapshot.sight.store_answers) == (None, False)
    assert order(html) == [MARKET, BRIDGE, HARBOUR]
    assert "尚无记录" in chosen_html(snapshot, ZH)


def test_nothing_that_was_configured_is_taken_for_html(world) -> None:
    """Names, reasons and ids are escaped wherever they stand."""
    evil = "<script>x</script>"
    troubled(world)
    snapshot = read(world, MARKET)
    chosen = replace(snapshot.chosen, status=replace(snapshot.chosen.status, name=evil, reason=evil))
    member = replace(snapshot.groups[0].members[0], name=evil, reason=evil, subject='"><script>')
    group = replace(snapshot.groups[0], members=(member,), place=evil)
    shown = replace(snapshot, chosen=chosen, cameras=(chosen,), groups=(group,))
    pages = (
        list_html(shown, None, ZH),
        chosen_html(shown, ZH),
        chosen_html(replace(shown, chosen=group), ZH),
    )
    assert [page for page in pages if "<script" in page] == []


def moved(world, camera_id: str = HARBOUR) -> None:
    """A camera shows another view than its zones were drawn on."""
    world.sight.states[camera_id] = SightState.DEGRADED
    world.sight.reasons[camera_id] = "the picture is not the one that zones were drawn on"
    world.sight.more[camera_id] = {"fault": Fault.MOVED, "zones_suspended": True}


@pytest.mark.parametrize(
    ("more", "offered"),
    [
        ({"fault": Fault.MOVED, "zones_suspended": True}, True),
        ({"fault": Fault.ELSEWHERE}, True),
        ({"fault": Fault.COVERED, "zones_suspended": True}, False),
        ({"fault": Fault.FROZEN, "zones_suspended": True}, False),
        ({"fault": Fault.BLURRED}, False),
        ({}, False),
    ],
)
def test_a_view_is_offered_to_be_accepted_only_where_there_is_another_one(world, more, offered) -> None:
    """Where the camera is moved or elsewhere, not where its lens is covered; never to who may only look."""
    moved(world)
    world.sight.more[HARBOUR] = more
    snapshot = read(world, HARBOUR)
    assert ('data-do="accept"' in chosen_html(snapshot, ZH, Accepting.OFFERED)) is offered
    assert ('data-do="accepted"' in chosen_html(snapshot, EN, Accepting.ASKED)) is offered
    assert "data-do" not in chosen_html(snapshot, ZH)


# in a browser


@pytest.fixture
def page(browser: Browser, console: ApiServer, world) -> Iterator[Page]:
    troubled(world)
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="zh-CN")
    page = context.new_page()
    page.set_default_timeout(_LONG_MS)
    mistakes: list[str] = []
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.on("console", lambda said: mistakes.append(said.text) if said.type == "error" else None)
    page.goto(f"{console.url}/cameras")
    page.wait_for_function("() => window.socket && window.socket.connected")
    yield page
    context.close()
    assert mistakes == []


def test_an_operator_walks_through_the_cameras_by_keys(page, world) -> None:
    """N takes the next troubled camera with its picture, J goes on, F hides what is well, and a change shows by itself."""
    expect(page.locator(".gw-detail h1")).to_contain_text("2 路摄像机没有画面", timeout=_LONG_MS)
    page.keyboard.press("n")
    expect(page.locator(".gw-detail h1")).to_contain_text("东门市场 1 号", timeout=_LONG_MS)
    page.wait_for_function("() => document.querySelector('.gw-live img')?.naturalWidth === 640")
    page.keyboard.press("j")
    expect(page.locator(".gw-detail h1")).to_contain_text("环城桥 2 号", timeout=_LONG_MS)
    page.keyboard.press("f")
    expect(page.locator(".gw-cam.gw-is-seeing")).to_have_count(0, timeout=_LONG_MS)
    world.sight.states[BRIDGE] = SightState.SEEING
    world.sight.more[BRIDGE] = {"last_look_at": None}
    expect(page.locator(".gw-head")).to_contain_text("看得见 2 / 3 路", timeout=_LONG_MS)
    expect(page.locator(f'.gw-cam[data-arg="{BRIDGE}"]')).to_have_count(0, timeout=_LONG_MS)
    page.keyboard.press("f")
    expect(page.locator(".gw-cam.gw-is-seeing")).to_have_count(2, timeout=_LONG_MS)


def test_clicks_choose_and_the_two_pages_lead_to_each_other(page, world) -> None:
    """A member of a storm leads to its camera; the tab says how many alerts wait; V goes over and back; L changes the language."""
    page.locator(f'.gw-member[data-arg="{MARKET}"]').click()
    expect(page.locator(".gw-detail h1")).to_contain_text("东门市场 1 号", timeout=_LONG_MS)
    world.open(Kind.FIRE, HARBOUR)
    expect(page.locator(".gw-tabs a").first).to_contain_text("1", timeout=_LONG_MS)
    page.keyboard.press("v")
    expect(page.locator("h1")).to_contain_text("疑似明火", timeout=_LONG_MS)
    page.wait_for_function("() => window.socket && window.socket.connected")
    page.keyboard.press("v")
    expect(page.locator(".gw-group")).to_have_count(1, timeout=_LONG_MS)
    page.wait_for_function("() => window.socket && window.socket.connected")
    page.keyboard.press("l")
    expect(page.locator(".gw-group")).to_contain_text("no stream from 2 cameras", timeout=_LONG_MS)


def test_a_view_is_accepted_after_a_question(page, world) -> None:
    """A asks, Esc and another camera take it back, Y accepts: the camera is told once and its zones are watched again."""
    moved(world)
    page.locator(f'.gw-cam[data-arg="{HARBOUR}"]').click()
    expect(page.locator('.gw-detail [data-do="accept"]')).to_contain_text("认可当前画面", timeout=_LONG_MS)
    page.keyboard.press("y")  # nothing was asked yet
    for takes_back in ("Escape", "k"):
        page.locator(f'.gw-cam[data-arg="{HARBOUR}"]').click()
        expect(page.locator(".gw-detail h1")).to_contain_text("河港 3 号", timeout=_LONG_MS)
        page.keyboard.press("a")
        expect(page.locator(".gw-panel")).to_contain_text("仍与划定的区域相符吗", timeout=_LONG_MS)
        page.keyboard.press(takes_back)
        expect(page.locator(".gw-panel")).to_have_count(0, timeout=_LONG_MS)
        page.keyboard.press("y")
    page.locator(f'.gw-cam[data-arg="{HARBOUR}"]').click()
    page.locator('.gw-detail [data-do="accept"]').click()
    assert world.sight.accepted == []
    page.locator('.gw-panel [data-do="accepted"]').click()
    expect(page.locator(".gw-detail .gw-chip")).to_have_text("正常", timeout=_LONG_MS)
    expect(page.locator(".q-notification")).to_contain_text("已认可当前画面", timeout=_LONG_MS)
    assert world.sight.accepted == [HARBOUR]
    expect(page.locator('.gw-detail [data-do="accept"]')).to_have_count(0, timeout=_LONG_MS)


def test_a_camera_that_is_well_is_not_asked_about(page, world) -> None:
    """The key does nothing where there is no other view to accept."""
    page.locator(f'.gw-cam[data-arg="{HARBOUR}"]').click()
    expect(page.locator(".gw-detail h1")).to_contain_text("河港 3 号", timeout=_LONG_MS)
    page.keyboard.press("a")
    page.keyboard.press("y")
    page.keyboard.press("f")
    expect(page.locator(".gw-cam.gw-is-seeing")).to_have_count(0, timeout=_LONG_MS)
    expect(page.locator(".gw-panel")).to_have_count(0)
    assert world.sight.accepted == []


def test_the_cameras_page_fits_the_usual_screens(page) -> None:
    """Nothing scrolls sideways, and picture and days lie inside 1280 × 800 and 1920 × 1080."""
    page.keyboard.press("n")
    expect(page.locator(".gw-live img")).to_be_visible(timeout=_LONG_MS)
    for width, height in ((1280, 800), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        for part in (".gw-live", ".gw-days", ".gw-keys", ".gw-tabs"):
            box = page.locator(part).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert box["y"] + box["height"] <= height, part
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_a_stranger_is_led_to_the_login_and_a_seat_out_when_its_token_ends(browser, console, world) -> None:
    """The page needs a token as the other one does, and leaves by itself when it has ended."""
    secret = world.token(Role.VIEWER, "wall-1")
    world.clock.advance(1)
    page = browser.new_context(locale="zh-CN").new_page()
    page.set_default_timeout(_LONG_MS)
    page.goto(f"{console.url}/cameras")
    page.locator("#token").fill(secret)
    page.keyboard.press("Enter")
    expect(page.locator(".gw-head .gw-sight")).to_be_visible(timeout=_LONG_MS)
    page.goto(f"{console.url}/cameras")
    expect(page.locator(".gw-who")).to_contain_text("wall-1", timeout=_LONG_MS)
    expect(page.locator(".gw-keys")).not_to_contain_text("认可")
    page.wait_for_function("() => window.socket && window.socket.connected")
    world.tokens.revoke("wall-1")
    world.clock.advance(2)
    expect(page.locator("#token")).to_be_visible(timeout=_LONG_MS)
    page.context.close()
