# SPDX-License-Identifier: AGPL-3.0-or-later
"""What operators read: both languages complete, and the pages as text."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from api.console import detail, overview
from api.console.detail import Asking
from api.console.overview import Listing, Sight
from api.console.snapshot import SnapshotReader
from api.console.texts import TEXTS, Language, Words, choose_language
from events.alerts import Activity, CaseState, Decision, DismissReason, Lane
from events.errors import StoreError
from gridwatch.core.camera import SightState
from gridwatch.core.zone import Kind

ZH, EN = Words(Language.ZH), Words(Language.EN)
MARKET, BRIDGE = "34020000001320000001", "34020000001320000002"
PLACES = re.compile(r"\{(\w+)\}")


def test_every_text_stands_in_both_languages() -> None:
    """Each key has a Chinese and an English text with the same places to fill."""
    for key, (zh, en) in TEXTS.items():
        assert zh.strip(), key
        assert en.strip(), key
        assert sorted(PLACES.findall(zh)) == sorted(PLACES.findall(en)), key
    assert set(ZH.group("time")) == set(EN.group("time"))


def test_chinese_texts_are_chinese() -> None:
    """Apart from the switch to English, every Chinese text has Chinese characters."""
    for key, (zh, en) in TEXTS.items():
        if key not in {"language", "keys.language"}:
            assert re.search("[\u4e00-\u9fff]", zh), key
            assert not re.search("[\u4e00-\u9fff]", en), key


@pytest.mark.parametrize(
    ("group", "words"),
    [
        ("kind", Kind),
        ("activity", Activity),
        ("decision", Decision),
        ("case", CaseState),
        ("reason", (*DismissReason, "restart", "seen_again_without_it")),
        ("flag", ("unknown", "late", "illegal", "other_case", "conflict", "collision")),
        ("evidence", ("still", "clip")),
        ("lane", Lane),
        ("state", SightState),
        ("severity", ("1", "2", "3", "4")),
        ("clip", ("pending", "ready", "late", "none")),
        (
            "row",
            [
                "opened",
                "updated",
                "unseen",
                "seen",
                "ended",
                "reopened",
                "confirmed",
                "dismissed",
                "case",
                "evidence",
                "orphan",
            ],
        ),
    ],
)
def test_every_word_of_the_contract_has_a_text(group: str, words) -> None:
    """No operator ever reads a bare word of the code."""
    for word in words:
        assert f"{group}.{word}" in TEXTS


@pytest.mark.parametrize(
    ("asked", "remembered", "accepted", "chosen"),
    [
        (None, None, None, Language.ZH),
        (None, None, "en-GB,en;q=0.9,zh;q=0.8", Language.EN),
        (None, None, "zh-CN,zh;q=0.9,en;q=0.8", Language.ZH),
        (None, None, "de,en;q=0.3,zh;q=0.7", Language.ZH),
        (None, None, "fr;q=nonsense,,;;,en;q=0.1.1", Language.ZH),
        (None, None, "de-DE", Language.ZH),
        (None, "en", "zh-CN", Language.EN),
        ("zh", "en", "en", Language.ZH),
        ("<script>", "xx", "en", Language.EN),
    ],
)
def test_the_language_is_the_one_asked_for(asked, remembered, accepted, chosen) -> None:
    """Asked for beats remembered beats the browser's; Chinese where nothing is said."""
    assert choose_language(asked, remembered, accepted) is chosen


@pytest.fixture
def reader(world) -> SnapshotReader:
    services = world.services()
    return SnapshotReader(world.operations(), services)


def test_pending_alerts_come_first(world, reader) -> None:
    """What waits for an operator stands above what was decided, of the same severity the newest first."""
    old = world.open(Kind.FIRE, MARKET, still=False)
    done = world.open(Kind.CROWD, still=False)
    new = world.open(Kind.FIRE, BRIDGE, still=False)
    world.book.decide(done.id, Decision.CONFIRMED, by="op-07")
    snapshot = reader.read(None, 50, None)
    assert [alert.id for alert in snapshot.listing.in_order()] == [new.id, old.id, done.id]
    assert snapshot.chosen is not None
    assert snapshot.chosen.id == new.id


def test_a_store_that_does_not_answer_keeps_the_list_and_says_so(world, reader, monkeypatch) -> None:
    """The last list stays, marked as not current; sight is still told."""
    world.open(still=False)
    former = reader.read(None, 50, None)

    def broken(*_asked):
        raise StoreError("away")

    monkeypatch.setattr(world.alerts, "list", broken)
    snapshot = reader.read(None, 50, former)
    assert snapshot.listing == former.listing
    assert ZH("sight.store") in overview.head_html(snapshot.sight, 1, ZH)
    assert reader.read(None, 50, None).listing.in_order() == ()


def test_an_empty_list_is_never_shown_without_its_proof(world, reader) -> None:
    """Nothing found, with how much is seen; nothing seen is said to prove nothing."""
    snapshot = reader.read(None, 50, None)
    page = overview.list_html(snapshot.listing, None, snapshot.sight, EN)
    assert "3 of 3 cameras seeing" in page
    assert "oldest look 3.2 s ago" in page
    world.sight.states = dict.fromkeys(world.sight.states, SightState.BLIND)
    page = overview.list_html(snapshot.listing, None, reader.sight(), ZH)
    assert ZH("list.empty_blind") in page
    assert ZH("sight.none") in page


@pytest.mark.parametrize("words", [ZH, EN], ids=["zh", "en"])
def test_a_store_that_does_not_answer_never_reads_as_no_alerts(world, reader, monkeypatch, words) -> None:
    """At a first load without the store the page says that nothing is known, and claims no reason; sight is still told."""
    former = reader.read(None, 50, None)

    def broken(*_asked):
        raise StoreError("away")

    monkeypatch.setattr(world.alerts, "list", broken)
    for before in (None, former):
        snapshot = reader.read(None, 50, before)
        page = overview.list_html(snapshot.listing, None, snapshot.sight, words)
        assert words("list.unknown") in page
        assert words("sight.store") in overview.head_html(snapshot.sight, 0, words)
        assert words("sight.seeing", seeing=3, cameras=3) in page
        claims = {key: words(key) in page for key in ("list.empty_proof", "list.empty_blind", "sight.none")}
        assert not any(claims.values()), claims
        assert f"<h2>{words('list.empty')}</h2>" not in page


def test_without_the_store_nobody_says_that_nothing_is_to_review(world, reader) -> None:
    """A list of reviewed alerts that is not current does not claim that none waits."""
    alert = world.open(still=False)
    world.book.decide(alert.id, Decision.CONFIRMED, by="op-07")
    listing = reader.read(None, 50, None).listing
    assert EN("list.none_pending") in overview.list_html(listing, None, reader.sight(), EN)
    page = overview.list_html(listing, None, reader.sight(store_answers=False), EN)
    assert EN("list.none_pending") not in page
    assert EN("list.unknown") in page


def test_the_head_tells_what_is_not_seen(world, reader) -> None:
    """Blind and degraded cameras are counted apart, and named with their reason."""
    market, bridge, _ = world.sight.states
    world.sight.states[market], world.sight.states[bridge] = SightState.DEGRADED, SightState.BLIND
    world.sight.reasons[bridge] = "no packets <b>"
    sight = reader.sight()
    head = overview.head_html(sight, 0, EN)
    assert "1 of 3 cameras seeing" in head
    assert "1 blind" in head
    assert "1 degraded or off" in head
    troubled = overview.troubled_html(sight, EN)
    assert troubled.index("环城桥") < troubled.index("东门市场")
    assert "no packets &lt;b&gt;" in troubled


def test_119_is_called_at_once_for_fire_and_smoke_of_the_upper_levels(world) -> None:
    """The call stands there before any decision and after a confirmation, and goes with a dismissal."""
    fire, smoke, crowd = (world.open(kind, still=False) for kind in (Kind.FIRE, Kind.SMOKE, Kind.CROWD))
    now = world.clock.now()
    for alert in (fire, smoke, replace(fire, decision=Decision.CONFIRMED)):
        assert "gw-119" in detail.title_html(alert, now, EN)
        assert EN("call119.why") in detail.title_html(alert, now, EN)
    for alert in (crowd, replace(smoke, severity=3), replace(fire, decision=Decision.DISMISSED)):
        assert "gw-119" not in detail.title_html(alert, now, EN)


def test_titles_say_suspected(world) -> None:
    """What the network believes to see is not claimed as certain, in either language (a crowd is a count)."""
    for kind in (Kind.FIRE, Kind.SMOKE, Kind.TRAFFIC):
        alert = world.open(kind, still=False)
        assert "疑似" in detail.title_html(alert, world.clock.now(), ZH)
        assert "Suspected" in detail.title_html(alert, world.clock.now(), EN)


def test_boxes_lie_over_the_picture(world) -> None:
    """A box's place is its normalised place in per cent; the picture is the alert's own."""
    alert = world.open(Kind.FIRE)
    page = detail.picture_html(alert, world.clock.now(), EN)
    assert "left:33.00%;top:33.00%;width:17.00%;height:17.00%" in page
    assert f"/api/v1/alerts/{alert.id}/still" in page
    assert "fire 0.83" in page
    assert EN("clip.pending") in page


def test_what_the_main_stream_shows_is_led_to(world) -> None:
    """A larger picture with its size and a second clip, those that there are, in a line of their own."""
    alert = world.open(Kind.FIRE)
    now, path = world.clock.now(), f"/api/v1/alerts/{alert.id}"
    assert "main-" not in detail.picture_html(alert, now, EN)
    alert = world.show_main(alert, clip=False)
    page = detail.picture_html(alert, now, ZH)
    assert f'href="{path}/still?detail=true" data-do="main-still"' in page
    assert "主码流" in page
    assert "大图 1280 × 720" in page
    assert "main-clip" not in page
    alert = world.show_main(alert)
    for shown in (alert, replace(alert, still=None)):
        assert f'href="{path}/clip?detail=true" data-do="main-clip"' in detail.picture_html(shown, now, EN)
    assert detail.evidence_urls(alert) == {
        "main-still": f"{path}/still?detail=true",
        "main-clip": f"{path}/clip?detail=true",
    }


def test_facts_are_a_table_a_person_can_read(world) -> None:
    """Known facts have names and units, unknown ones their own name; the deadline runs."""
    alert = replace(
        world.open(Kind.FIRE), facts={"area_share": 0.0289, "looks_taken": 6, "<new>": "car", "x": None}
    )
    page = detail.facts_html(alert, world.clock.now(), EN)
    assert "<th>share of the picture</th><td>2.9%</td>" in page
    assert "<th>looks taken</th><td>6</td>" in page
    assert "<th>&lt;new&gt;</th><td>car</td>" in page
    assert "1 min left" in page
    assert "overdue" in detail.facts_html(alert, world.clock.now() + timedelta(minutes=3), EN)


def test_a_deadline_whose_step_was_taken_runs_no_longer(world) -> None:
    """Review is met by a decision, signing and handling by the case system's steps; the next one still runs."""
    alert = world.open(Kind.FIRE)
    world.book.decide(alert.id, Decision.CONFIRMED, by="op-07")
    world.answer(alert, "handled", 1)
    page = detail.facts_html(world.alerts.get(alert.id), world.clock.now(), EN)
    met = {
        name: "✓" in page.split(f"<th>{name}</th>")[1].split("</tr>")[0]
        for name in ("review", "sign", "handle", "verify")
    }
    assert met == {"review": True, "sign": True, "handle": True, "verify": False}


def test_what_an_operator_typed_cannot_become_markup(world) -> None:
    """Texts from anywhere are escaped wherever they are shown."""
    evil = '<img src=x onerror=alert(1)>"'
    alert = replace(
        world.open(Kind.FIRE),
        id=evil,
        camera_name=evil,
        zone_name=evil,
        grid_name=evil,
        address_text=evil,
        dept_hint=evil,
        title={"zh": evil, "en": evil},
        text={"zh": evil, "en": evil},
        facts={evil: evil},
        case_id=evil,
    )
    now = world.clock.now()
    coverage = SnapshotReader(world.operations(), world.services()).sight()
    listing = Listing(pending=(alert,), decided=(), more=False, more_pending=False)
    pages = [
        overview.list_html(listing, evil, coverage, ZH),
        *(page(alert, now, ZH) for page in (detail.title_html, detail.picture_html, detail.facts_html)),
        overview.head_html(replace(coverage, run_mode=evil), 0, ZH),
    ]
    assert all("<img src=x" not in page and 'x onerror=alert(1)>"' not in page for page in pages)


def test_the_panel_asks_for_a_reason_with_its_keys() -> None:
    """The four reasons stand beside their digits; a changed decision asks for words."""
    panel = detail.panel_html(Asking.DISMISS, EN)
    for number, reason in enumerate(DismissReason, start=1):
        assert f'data-arg="{reason.value}" aria-keyshortcuts="{number}"' in panel
        assert detail.reason_of_key(str(number)) is reason
    assert detail.reason_of_key("5") is None
    assert 'data-do="confirm"' in detail.panel_html(Asking.CHANGE, ZH)
    assert detail.panel_html(None, ZH) == ""


def test_sight_is_a_plain_value(world, reader) -> None:
    """Two reads of the same sight are equal, so that nothing unchanged is sent to a browser."""
    assert isinstance(reader.sight(), Sight)
    assert overview.head_html(reader.sight(), 0, ZH) == overview.head_html(reader.sight(), 0, ZH)
