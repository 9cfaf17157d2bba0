# SPDX-License-Identifier: AGPL-3.0-or-later
"""The list of breakages fits the tree, and the script that tries them notices each way in which one does not hold."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "scripts" / "sabotage.py"
BREAKAGES = yaml.safe_load((ROOT / "tests" / "sabotage.yaml").read_text("utf-8"))
SHOP = """
def price(net):
    gross = net * 2
    return gross

def cost(net):
    gross = net
    return gross
"""
SHOP_TESTS = """
import sys
sys.path.insert(0, ".")
from shop import price

def test_doubles():
    assert price(2) == 4

def test_zero():
    assert price(0) == 0

RUNS = []

def test_once():
    RUNS.append(price(2))
    assert RUNS[-1] == 4 or len(RUNS) > 1

def test_broken_anyway():
    assert price(1) == 3
"""


def sabotage(*arguments):
    """Run the script; return its exit code and what it said."""
    command = [sys.executable, str(SCRIPT), *map(str, arguments)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture
def shop(tmp_path):
    """A small tree with one module and its tests, and a function that tries breakages of it."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "shop.py").write_text(SHOP)
    (tmp_path / "tests" / "test_shop.py").write_text(SHOP_TESTS)

    def try_(*options, **entries):
        usual = {
            "what": "half the price",
            "file": "shop.py",
            "old": "gross = net * 2",
            "new": "gross = net / 2",
        }
        usual |= {"tests": ["tests/test_shop.py::test_doubles"]}
        listed = [{"name": name, **usual, **changes} for name, changes in entries.items()]
        (tmp_path / "tests" / "sabotage.yaml").write_text(yaml.safe_dump(listed))
        answer = sabotage("--root", tmp_path, *options)
        assert (tmp_path / "shop.py").read_text() == SHOP  # the tree itself is never touched
        return answer

    return try_


def test_there_are_enough_breakages_and_each_fits_the_tree():
    """At least fifteen; each line stands in its file exactly once."""
    assert len(BREAKAGES) >= 15
    code, said = sabotage("--check")
    assert code == 0, said


def test_every_named_test_is_there():
    """A test that was renamed would never turn red."""
    known = {}
    for test in {test for entry in BREAKAGES for test in entry["tests"]}:
        file, _, name = test.partition("::")
        if file not in known:
            tree = ast.parse((ROOT / file).read_text("utf-8"))
            known[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name.partition("[")[0] in known[file], test


@pytest.mark.timeout(200)
def test_a_breakage_holds_only_if_all_its_tests_turn_red(shop):
    """A test that stays green, that does not run, a tree that does not even import: none of them proves anything."""
    both = ["tests/test_shop.py::test_doubles", "tests/test_shop.py::test_zero"]
    code, said = shop(
        holds={},
        green={"tests": both},
        anyway={"tests": ["tests/test_shop.py::test_broken_anyway"]},
        syntax={"new": "gross = ("},
        missing={"file": "store.py"},
    )
    assert code == 1
    lines = said.splitlines()
    assert any(line.startswith("[1/5] holds: red") for line in lines)
    assert "tests/test_shop.py::test_broken_anyway is red on an unbroken copy" in lines
    (green, syntax, missing) = (line for line in lines if line.startswith("NOT HELD ") and "half" in line)
    assert green.endswith(": tests/test_shop.py::test_zero is green")
    assert syntax.endswith("test_doubles did not run")
    assert missing.endswith("there is no store.py")
    assert lines[-1] == "FAIL 5 breakages"


def test_a_test_that_is_not_there_is_named(shop):
    """It keeps pytest from running any, so it is told what pytest says of it."""
    code, said = shop(gone={"tests": ["tests/test_shop.py::test_gone"]})
    assert code == 1
    assert "ERROR: not found" in said
    assert "test_gone did not run on an unbroken copy" in said


def test_a_run_in_which_all_hold_passes(shop):
    """Exit 0, and the last line says so."""
    code, said = shop(halves={})
    assert (code, said.splitlines()[-1]) == (0, "PASS 1 breakages")


def test_a_test_that_is_red_once_is_red(shop, tmp_path):
    """Where the tree runs failing tests again, its breakages are tried without that."""
    (tmp_path / "pytest.ini").write_text("[pytest]\nreruns = 1\n")
    code, said = shop(once={"tests": ["tests/test_shop.py::test_once"]})
    assert code == 0, said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"old": "gross = net * 3"}, "has the line 0 times: gross = net * 3"),
        ({"old": "return gross", "new": "return 0"}, "has the line 2 times: return gross"),
        ({"old": "return gross", "new": "return 0", "after": "def nothing():"}, "has the line 0 times: def"),
    ],
)
def test_a_line_that_is_not_there_once_is_refused(shop, changes, words):
    """It was changed, or it would be left to chance which one is broken."""
    code, said = shop("--check", halves=changes)
    assert code == 1
    assert words in said


def test_of_several_the_one_behind_another_line_is_meant(shop):
    """A line that stands twice is named by what stands before it."""
    code, said = shop("--check", halves={"old": "return gross", "new": "return 0", "after": "def cost(net):"})
    assert code == 0, said


@pytest.mark.parametrize("changes", [{"what": ""}, {"tests": []}, {"new": "gross = net * 2"}, {"how": "so"}])
def test_a_list_that_cannot_be_read_is_told_in_one_sentence(shop, changes):
    """An empty field, no test, a line that changes nothing, an unknown field: exit 2."""
    code, said = shop("--check", halves=changes)
    assert code == 2
    assert len(said.splitlines()) == 1


def test_an_unknown_name_is_told():
    """A name that is not in the list: exit 2."""
    code, said = sabotage("--check", "no-such-breakage")
    assert (code, said) == (2, "the list has no no-such-breakage\n")


@pytest.mark.timeout(300)
def test_one_breakage_of_this_room_turns_its_tests_red():
    """The short form: the whole list is tried by scripts/sabotage."""
    code, said = sabotage(BREAKAGES[0]["name"])
    assert code == 0, said
