# SPDX-License-Identifier: AGPL-3.0-or-later
"""A test of real time that fails is run once more and listed; a pure one is not; `scripts/sabotage` sees the first failure."""

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.real_time import MOST_RERUNS

ROOT = Path(__file__).parents[1]
HOUSE = """
import threading
import pytest
from tests.real_time import RealTime

def pytest_configure(config):
    config.pluginmanager.register(RealTime())

@pytest.fixture(scope="module")
def server():
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    yield thread
    ended.set()
    thread.join()

@pytest.fixture(scope="module")
def runs():
    return []
"""
TESTS = """
import threading
import time
import pytest

def once(runs, name):
    runs.append(name)
    assert runs.count(name) > 1, "the machine stood still"

def test_once_beside_a_server(server, runs):
    once(runs, "beside")
    assert server.is_alive()

def test_once_with_a_thread(runs):
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    once(runs, "own")

def test_always(server):
    assert not server.is_alive()

@pytest.mark.timeout(1)
def test_hanging(server):
    time.sleep(5)

@pytest.fixture
def endless():
    yield
    time.sleep(5)

@pytest.mark.timeout(1)
def test_hanging_to_the_end(server, endless):
    time.sleep(5)

def test_pure(runs):
    once(runs, "pure")

def test_passing(server, runs):
    assert runs.count("pure") == 1
"""
NEXT_TESTS = """
import pytest

@pytest.fixture(scope="module")
def server():
    return None

def test_pure_again(server):
    assert server
"""


@pytest.fixture
def street(tmp_path):
    """A folder of tests under this project's settings, and a function that runs them: exit code, and what was said."""
    (tmp_path / "conftest.py").write_text(HOUSE)
    (tmp_path / "test_street.py").write_text(TESTS)
    (tmp_path / "test_street_next.py").write_text(NEXT_TESTS)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}

    def run(*options):
        here = ("-c", ROOT / "pyproject.toml", "--rootdir", tmp_path)
        told = subprocess.run(
            [sys.executable, "-m", "pytest", *here, *options, tmp_path],
            cwd=tmp_path,
            env=environment | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
        return told.returncode, told.stdout + told.stderr

    return run


def listed(said, word):
    """Return the tests that the summaries list under a word."""
    return sorted(set(re.findall(rf"^{word} \S*::test_(\w+)", said, re.MULTILINE)))


def test_only_tests_of_real_time_are_run_once_more(street):
    """What fails once is listed with its reason, what fails twice stays a failure, a second hang ends too."""
    code, said = street("-k", "not to_the_end")
    assert code == 1
    assert listed(said, "RERUN") == ["always", "hanging", "once_beside_a_server", "once_with_a_thread"]
    assert listed(said, "FAILED") == ["always", "hanging", "pure", "pure_again"]
    assert "4 failed, 3 passed, 1 deselected, 4 rerun" in said
    assert said.partition("rerun test summary info")[2].count("AssertionError: the machine stood still") >= 2


def test_an_end_that_hangs_after_a_hang_ends_too(street):
    """A fixture that waits for what the test left hanging has a time-out of its own."""
    code, said = street("-k", "to_the_end")
    assert code == 1
    assert listed(said, "FAILED") == listed(said, "ERROR") == ["hanging_to_the_end"]


@pytest.mark.parametrize("option", ["-pno:rerunfailures", "--force-reruns=0"])
def test_the_first_failure_counts_where_that_is_asked_for(street, option):
    """As `scripts/sabotage` asks for it: then nothing is run again."""
    code, said = street(option, "-k", "once or test_pure")
    assert code == 1
    assert "4 failed" in said
    assert "rerun" not in said.rpartition("4 failed")[2]
    assert listed(said, "RERUN") == []


def test_this_suite_runs_them_again(pytestconfig):
    """Where the plugin is not installed, or not told, nothing would be run again and nobody would notice."""
    assert find_spec("pytest_rerunfailures")
    assert pytestconfig.pluginmanager.has_plugin("real_time")
    assert pytestconfig.option.max_suite_reruns == MOST_RERUNS
