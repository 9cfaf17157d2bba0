# SPDX-License-Identifier: AGPL-3.0-or-later
"""The console in a real browser: keys, decisions, live changes, language, and nothing from outside."""

import re
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from api.console.snapshot import SnapshotReader
from api.server import ApiServer
from events.alerts import Decision
from events.errors import StoreError
from events.roles import Role
from gridwatch.core.camera import SightState
from gridwatch.core.zone import Kind

pytestmark = pytest.mark.timeout(180)

_LONG_MS = 45_000  # a page is loaded anew; the machine may be busy


@pytest.fixture
def page(browser: Browser, console: ApiServer) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1280, "height": 800}, locale="zh-CN")
    page = context.new_page()
    page.set_default_timeout(15_000)
    outside: list[str] = []
    mistakes: list[str] = []
    page.on(
        "request", lambda request: outside.append(request.url) if _foreign(request.url, console) else None
    )
    page.on("websocket", lambda socket: outside.append(socket.url) if _foreign(socket.url, console) else None)
    page.on("pageerror", lambda error: mistakes.append(str(error)))
    page.on("console", lambda said: mistakes.append(said.text) if said.type == "error" else None)
    page.goto(console.url)
    expect(page.locator(".gw-head .gw-sight")).to_be_visible()
    yield page
    context.close()
    assert outside == []
    assert mistakes == []


def _foreign(url: str, console: ApiServer) -> bool:
    own = console.url.removeprefix("http")
    return not url.startswith((f"http{own}/", f"ws{own}/", "data:"))


def row(page: Page, alert_id: str):
    return page.locator(f'.gw-row[data-arg="{alert_id}"]')


def connected(page: Page) -> None:
    """Wait until keys reach the server: the page's socket is open."""
    page.wait_for_function("() => window.socket && window.socket.connected")


def test_an_alert_appears_by_itself_and_is_confirmed_by_a_key(page, world) -> None:
    """An empty list with its proof, then an alert without a reload, its picture, and C records the decision."""
    expect(page.locator(".gw-empty")).to_contain_text("看得见 3 / 3 路")
    connected(page)
    alert = world.open(Kind.FIRE)
    expect(row(page, alert.id)).to_be_visible()
    expect(page.locator(".gw-119")).to_contain_text("119")
    expect(page.locator("h1")).to_contain_text("疑似明火")
    page.wait_for_function("() => document.querySelector('.gw-picture img')?.naturalWidth === 640")
    expect(page.locator(".gw-box")).to_have_count(1)
    expect(page).to_have_title("(1) gridwatch")
    page.keyboard.press("c")
    expect(row(page, alert.id)).to_contain_text("已确认")
    stored = world.alerts.get(alert.id)
    assert (stored.decision, stored.decided.by) == (Decision.CONFIRMED, "console")
    expect(page.locator(".gw-timeline")).to_contain_text("确认属实")


def test_what_the_main_stream_shows_is_a_key_away(page, world) -> None:
    """It appears by itself; B opens the larger picture in a tab of its own, and a click does; without it the key does nothing."""
    connected(page)
    alert = world.open(Kind.FIRE)
    expect(row(page, alert.id)).to_be_visible()
    page.keyboard.press("b")
    world.show_main(alert)
    expect(page.locator(".gw-main-stream")).to_contain_text("大图 1280 × 720")
    expect(page.locator(".gw-timeline")).to_contain_text("主码流大图已存")
    for opens in (
        lambda: page.keyboard.press("b"),
        lambda: page.locator('[data-do="main-still"]').click(),
    ):
        with page.context.expect_page() as opened:
            opens()
        opened.value.wait_for_load_state()
        assert opened.value.url.endswith(f"/api/v1/alerts/{alert.id}/still?detail=true")
        assert opened.value.evaluate("document.images[0].naturalWidth") == 1280
        opened.value.close()
    expect(page.locator('[data-do="main-clip"]')).to_have_attribute(
        "href", re.compile(r"/clip\?detail=true$")
    )
    assert len(page.context.pages) == 1


def test_keys_move_and_dismiss_with_a_reason_and_a_note(page, world) -> None:
    """J and K move; D asks, the note is typed, 1 records the dismissal; digits in the note decide nothing."""
    connected(page)
    first, second = world.open(Kind.TRAFFIC), world.open(Kind.CROWD)
    expect(row(page, second.id)).to_be_visible()
    page.keyboard.press("k")
    expect(row(page, second.id)).to_have_class(re.compile("gw-chosen"))
    page.keyboard.press("j")
    expect(page.locator("h1")).to_contain_text("疑似异常停车")
    page.keyboard.press("d")
    expect(page.locator(".gw-panel")).to_be_visible()
    page.locator(".gw-note").fill("2 辆垃圾车")
    page.locator(".gw-note").press("3")
    page.locator(".gw-note").press("Enter")
    assert world.alerts.get(first.id).decision is Decision.PENDING
    page.keyboard.press("1")
    expect(row(page, first.id)).to_contain_text("已排除")
    decided = world.alerts.get(first.id).decided
    assert (decided.reason, decided.note) == ("false_alarm", "2 辆垃圾车3")
    expect(page.locator(".gw-panel")).to_have_count(0)
    assert world.alerts.get(second.id).decision is Decision.PENDING


def test_quick_keys_are_not_lost(page, world, monkeypatch) -> None:
    """Keys pressed faster than the server answers each move one step, and end on the right alert."""
    alerts = [world.open(kind, still=False) for kind in Kind]
    connected(page)
    expect(page.locator(".gw-row")).to_have_count(len(alerts))
    read = SnapshotReader.read

    def slowly(*asked):
        time.sleep(0.1)
        return read(*asked)

    monkeypatch.setattr(SnapshotReader, "read", slowly)
    for key in "kkkkjjkj":
        page.keyboard.press(key)
    in_order = sorted(alerts, key=lambda alert: (alert.severity, -alert.opened_at.timestamp()))
    expect(row(page, in_order[2].id)).to_have_class(re.compile("gw-chosen"))


def test_a_more_severe_alert_takes_neither_the_selection_nor_the_place(page, world) -> None:
    """While the list is scrolled, what arrives above leaves the chosen row chosen and where it is on the screen."""
    crowd = world.open(Kind.TRAFFIC, still=False)
    with world.store.write() as tx:
        incident = tx.incident(crowd.id)
        for number in range(30):
            alert = replace(incident.alert, id=f"{crowd.id[:-3]}x{number:02d}")
            tx.save(replace(incident, alert=alert), new=True)
    page.reload()
    connected(page)
    last = f"{crowd.id[:-3]}x15"
    row(page, last).scroll_into_view_if_needed()
    row(page, last).click()
    expect(row(page, last)).to_have_class(re.compile("gw-chosen"))
    before = row(page, last).bounding_box()
    assert before is not None
    fire = world.open(Kind.FIRE, still=False)
    expect(page.locator(".gw-row").first).to_have_attribute("data-arg", fire.id)
    expect(row(page, last)).to_have_class(re.compile("gw-chosen"))
    after = row(page, last).bounding_box()
    assert after is not None
    assert abs(after["y"] - before["y"]) < 1
    expect(page.locator("h1")).to_contain_text("疑似异常停车")


def test_other_alerts_changes_do_not_read_the_timeline_again(page, world, monkeypatch) -> None:
    """An open page reads the shown alert's changes when it is selected and when it changes."""
    connected(page)
    shown = world.open(Kind.FIRE, still=False)
    expect(page.locator(".gw-timeline li")).to_have_count(1)
    page.wait_for_timeout(500)
    asked: list[str] = []
    read = SnapshotReader._rows

    def counting(self, chosen, former, changed):
        rows = read(self, chosen, former, changed)
        if former is None or rows[0] is not former.rows:
            asked.append(chosen.id)
        return rows

    monkeypatch.setattr(SnapshotReader, "_rows", counting)
    other = world.open(Kind.CROWD, still=False)
    expect(row(page, other.id)).to_be_visible()
    assert asked == []
    world.book.decide(shown.id, Decision.CONFIRMED, by="op-07")
    expect(page.locator(".gw-timeline li")).to_have_count(2)
    assert set(asked) == {shown.id}


def test_a_first_load_without_the_store_claims_nothing(page, world, monkeypatch) -> None:
    """Somebody who opens the page while the database is away reads that nothing is known, not that there are no alerts."""

    def broken(*_asked):
        raise StoreError("away")

    monkeypatch.setattr(world.alerts, "list", broken)
    page.reload()
    expect(page.locator(".gw-empty")).to_contain_text("警情情况不明")
    expect(page.locator(".gw-empty")).not_to_contain_text("目前没有警情")
    monkeypatch.undo()
    expect(page.locator(".gw-empty")).to_contain_text("目前没有警情")


def test_a_dismissed_alert_is_confirmed_only_with_words(page, world) -> None:
    """C on a dismissed alert asks why; Escape leaves it; with a note it is confirmed."""
    alert = world.open(Kind.SMOKE)
    world.book.decide(alert.id, Decision.DISMISSED, by="op-07", reason="harmless")
    connected(page)
    expect(row(page, alert.id)).to_contain_text("已排除")
    page.keyboard.press("c")
    expect(page.locator(".gw-panel")).to_contain_text("改为确认")
    page.keyboard.press("Escape")
    expect(page.locator(".gw-panel")).to_have_count(0)
    page.keyboard.press("c")
    page.locator(".gw-note").fill("再看为真")
    page.locator(".gw-panel .gw-do-confirm").click()
    expect(row(page, alert.id)).to_contain_text("已确认")
    assert world.alerts.get(alert.id).decided.note == "再看为真"


def test_the_loser_of_two_decisions_is_told(page, world, monkeypatch) -> None:
    """Who decides on what somebody else has decided meanwhile is told who and when, and nothing is changed."""
    alert = world.open(Kind.CROWD)
    connected(page)
    expect(row(page, alert.id)).to_be_visible()
    seen = world.alerts.get(alert.id)
    monkeypatch.setattr(world.alerts, "rows_after", lambda *_asked: [])  # this console hears of nothing
    page.wait_for_timeout(400)
    world.book.decide(alert.id, Decision.DISMISSED, by="op-09", reason="drill", seen_revision=seen.revision)
    page.keyboard.press("c")
    expect(page.locator(".q-notification")).to_contain_text("op-09")
    assert world.alerts.get(alert.id).decision is Decision.DISMISSED


def test_the_language_is_switched_by_a_key_and_remembered(page, world, console) -> None:
    """L shows the page in English; the next visit is English too."""
    world.open(Kind.FIRE, still=False)
    connected(page)
    page.keyboard.press("l")
    expect(page.locator(".gw-head")).to_contain_text("3 of 3 cameras seeing")
    expect(page.locator("h1")).to_contain_text("Suspected")
    page.goto(console.url)
    expect(page.locator(".gw-actions")).to_contain_text("Confirm")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    connected(page)
    page.locator(".gw-lang").click()
    expect(page.locator(".gw-actions")).to_contain_text("确认")


def test_lost_sight_shows_without_a_reload(page, world) -> None:
    """A camera that goes blind is told in the head and named beside the list within seconds."""
    connected(page)
    camera_id = next(iter(world.sight.states))
    world.sight.states[camera_id] = SightState.BLIND
    world.sight.reasons[camera_id] = "stalled"
    expect(page.locator(".gw-head")).to_contain_text("看不见 1 路")
    expect(page.locator(".gw-trouble")).to_contain_text("stalled")


def test_a_page_that_hears_nothing_any_more_says_so(browser, console, world) -> None:
    """When the server's answers stop coming, what is shown is marked as not current."""
    world.open(Kind.FIRE, still=False)
    context = browser.new_context(locale="zh-CN")
    page = context.new_page()
    page.clock.install()
    page.goto(console.url)
    expect(page.locator(".gw-row")).to_be_visible()
    expect(page.locator(".gw-stale")).to_be_hidden()
    page.clock.run_for(2_000)
    console.stop()
    page.clock.run_for(20_000)
    expect(page.locator(".gw-stale").first).to_be_visible()
    context.close()


def signed_in(browser: Browser, console: ApiServer, token: str) -> Page:
    page = browser.new_context(viewport={"width": 1280, "height": 800}, locale="zh-CN").new_page()
    page.set_default_timeout(_LONG_MS)
    page.goto(console.url)
    page.locator("#token").fill(token)
    page.keyboard.press("Enter")
    expect(page.locator(".gw-head .gw-sight")).to_be_visible(timeout=_LONG_MS)
    connected(page)
    return page


def test_a_seat_signs_in_decides_and_is_led_out_when_its_token_ends(browser, console, world) -> None:
    """A token typed once opens the console; its name is shown and recorded; revoked, the open page leaves by itself."""
    alert, secret = world.open(Kind.FIRE), world.token(Role.OPERATOR, "op-07")
    world.clock.advance(1)
    page = signed_in(browser, console, secret)
    expect(page.locator(".gw-who")).to_contain_text("op-07", timeout=_LONG_MS)
    page.wait_for_function("() => document.querySelector('.gw-picture img')?.naturalWidth === 640")
    page.keyboard.press("c")
    expect(row(page, alert.id)).to_contain_text("已确认", timeout=_LONG_MS)
    assert world.alerts.get(alert.id).decided.by == "op-07"
    world.tokens.revoke("op-07")
    world.clock.advance(1)
    expect(page.locator("#token")).to_be_visible(timeout=_LONG_MS)
    page.context.close()


def test_a_seat_signs_out(browser, console, world) -> None:
    """The way out leads to the form, and going back shows nothing."""
    secret = world.token(Role.OPERATOR, "op-07")
    world.clock.advance(1)
    page = signed_in(browser, console, secret)
    page.locator(".gw-who button").click()
    expect(page.locator("#token")).to_be_visible(timeout=_LONG_MS)
    page.goto(console.url)
    expect(page.locator("#token")).to_be_visible(timeout=_LONG_MS)
    page.context.close()


def test_a_viewer_looks_and_cannot_decide(browser, console, world) -> None:
    """Neither buttons nor keys decide; the page says why."""
    alert, secret = world.open(Kind.FIRE), world.token(Role.VIEWER, "wall-1")
    world.clock.advance(1)
    page = signed_in(browser, console, secret)
    expect(page.locator(".gw-who")).to_contain_text("只读", timeout=_LONG_MS)
    expect(page.locator(".gw-do-confirm")).to_be_hidden(timeout=_LONG_MS)
    expect(page.locator(".gw-keys")).not_to_contain_text("确认")
    for key in ("c", "d"):
        page.keyboard.press(key)
        expect(page.locator(".q-notification").last).to_contain_text("只能查看", timeout=_LONG_MS)
    assert world.alerts.get(alert.id).decision is Decision.PENDING
    page.context.close()


def test_a_crowd_of_boxes_is_drawn_without_labels(page, world) -> None:
    """Many boxes stay readable: frames only."""
    alert = world.open(Kind.CROWD, boxes=30)
    expect(row(page, alert.id)).to_be_visible()
    expect(page.locator(".gw-box")).to_have_count(30)
    expect(page.locator(".gw-box span")).to_have_count(0)


def test_the_page_fits_the_usual_screens(page, world, tmp_path: Path) -> None:
    """Decisions, picture and list lie inside 1280 × 800 and 1920 × 1080, and nothing scrolls sideways."""
    world.open(Kind.FIRE)
    expect(page.locator(".gw-picture img")).to_be_visible()
    for width, height in ((1280, 800), (1920, 1080)):
        page.set_viewport_size({"width": width, "height": height})
        for part in (".gw-do-confirm", ".gw-do-dismiss", ".gw-picture", ".gw-119", ".gw-keys"):
            box = page.locator(part).bounding_box()
            assert box is not None
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= width
            assert box["y"] + box["height"] <= height, part
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
