# SPDX-License-Identifier: AGPL-3.0-or-later
"""The short reasons that other rooms give in English, as the Chinese console shows them."""

import ast
import importlib
import inspect
import pkgutil
import re
from types import ModuleType

import pytest

import ingest.errors
import ingest.sight
from api.console import overview
from api.console.texts import PHRASES, Language, Words
from api.watching import coverage_of
from gridwatch.app.canary import Reached
from gridwatch.core.camera import SightState
from ingest.sight import Sight

ZH, EN = Words(Language.ZH), Words(Language.EN)
# These say what is wrong with files, clips and budgets: nobody reads it as a camera's reason.
SILENT = {"attention", "budget", "files", "reencode", "remux"}
SAYS = [
    importlib.import_module(f"ingest.{module.name}")
    for module in pkgutil.iter_modules(ingest.__path__)
    if module.name not in SILENT
]
GIVEN_BY = {"_failed", "failed", "connecting"}
ERRORS = {name for name in vars(ingest.errors) if name.endswith("Error")}


def said_by(module: ModuleType) -> set[str]:
    """Return the phrases that a module of ingest gives as a reason, with `Xyz` in each place."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Call)]
    texts = (_text(call.args[0]) for call in calls if call.args and _name(call.func) in ERRORS | GIVEN_BY)
    return {text for text in texts if text}


def _name(func: ast.expr) -> str:
    return func.id if isinstance(func, ast.Name) else func.attr if isinstance(func, ast.Attribute) else ""


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    parts = node.values if isinstance(node, ast.JoinedStr) else []
    return "".join(str(part.value) if isinstance(part, ast.Constant) else "Xyz" for part in parts)


@pytest.mark.parametrize("module", SAYS, ids=lambda module: module.__name__)
def test_every_reason_that_ingest_gives_is_known(module: ModuleType) -> None:
    """No phrase of ingest is shown untranslated; one that is added needs its Chinese."""
    assert {phrase for phrase in said_by(module) if ZH.phrase(phrase) == phrase} == set()


def test_reasons_are_found_where_they_are_given() -> None:
    """The search above finds what it is for."""
    found = {phrase for module in SAYS for phrase in said_by(module)}
    assert {"the stream ended", "a NAL unit is cut off", "nothing came for Xyz s"} <= found


def test_what_the_sight_and_the_canary_say_is_known() -> None:
    """Faults of the picture, the switch, and how far an exercise came are read in Chinese too."""
    said = {*ingest.sight._WORDS.values(), "switched off", "in maintenance", *(one.value for one in Reached)}
    assert {phrase for phrase in said - {Reached.ARRIVED.value} if ZH.phrase(phrase) == phrase} == set()


def test_every_phrase_has_the_same_place_in_chinese() -> None:
    """A phrase is English, its text Chinese, and what stands in its place is kept."""
    for phrase, text in PHRASES.items():
        assert re.search("[\u4e00-\u9fff]", text), phrase
        assert not re.search("[\u4e00-\u9fff]", phrase), phrase
        assert phrase.count("{rest}") == text.count("{rest}") <= 1, phrase
        assert "{" not in phrase.replace("{rest}", ""), phrase


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("connecting", "正在连接"),
        ("nothing came for 10 s", "已 10 秒没有收到数据"),
        ("no connection (Connection refused)", "无法连接（连接被拒绝）"),
        ("no connection (Something {new})", "无法连接（Something {new}）"),
        ("vp9 is not decoded here, only H.264 and H.265", "不支持 vp9 编码，只支持 H.264 和 H.265"),
        (
            "no answer from the network: the answer holds numbers that are not finite",
            "分析网络没有给出结果：结果中有无效数值",
        ),
        ("the look failed (ValueError)", "画面分析失败（ValueError）"),
        ("a look could not be judged", "分析结果无法判定"),
        ("lens covered", "lens covered"),
        ("nothing came for  s", "nothing came for  s"),
        ("", ""),
    ],
)
def test_a_known_reason_is_shown_in_chinese_and_an_unknown_one_as_it_is(said: str, shown: str) -> None:
    """Known phrases are translated with what stands in their place; others are not guessed at. English stays."""
    assert ZH.phrase(said) == shown
    assert EN.phrase(said) == said


def test_a_blind_cameras_reason_is_read_in_chinese(world) -> None:
    """The cameras beside the list say in the operator's language why they do not see."""
    camera_id = next(iter(world.sight.states))
    world.sight.states[camera_id] = SightState.BLIND
    world.sight.reasons[camera_id] = "user or password are refused"
    statuses = world.sight.statuses()
    sight = overview.Sight(
        coverage=coverage_of(statuses),
        troubled=(statuses[0],),
        run_mode="actual",
        now=world.clock.now(),
        store_answers=True,
    )
    assert "用户名或密码被拒绝" in overview.troubled_html(sight, ZH)
    assert "user or password are refused" in overview.troubled_html(sight, EN)


def test_a_camera_that_never_saw_has_a_known_reason(world) -> None:
    """What a camera's own state says before its first picture is translated too."""
    sight = Sight("c", "c", world.clock)
    assert ZH.phrase(sight.status().reason) == "尚未连接"
    sight.connecting()
    assert ZH.phrase(sight.status().reason) == "正在连接"
    sight.takes_turns()
    sight.between_visits(world.clock.mono_s() + 60)
    assert ZH.phrase(sight.status().reason) == "等待首次轮巡"
