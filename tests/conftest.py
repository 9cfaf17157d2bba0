# SPDX-License-Identifier: AGPL-3.0-or-later
"""What holds for all tests: those that need torch or PostgreSQL are skipped where it is not installed, and say so.

And no test depends on the machine's speed where that can be had: properties have no time limit, and the tests of real time
are run once more where they fail (tests/real_time.py).
"""

import gc
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.postgres import PostgresServer, binaries
from tests.real_time import RealTime
from tests.servers import missing

NEEDED = ("torch", "ultralytics", "safetensors", "nncf")


def pytest_configure(config: pytest.Config) -> None:
    """Set what holds for the whole run, before any test is read."""
    config.pluginmanager.register(RealTime(), "real_time")
    settings.register_profile(
        "gridwatch",
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    settings.load_profile("gridwatch")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `torch` on a light installation; `.ci/run` has a full one."""
    absent = [name for name in NEEDED if find_spec(name) is None]
    if not absent:
        return
    skip = pytest.mark.skip(reason=f"needs {', '.join(absent)}: .venv-torch has it, .ci/run runs it there")
    for item in items:
        if item.get_closest_marker("torch"):
            item.add_marker(skip)


def pytest_collection_finish() -> None:
    """Spare the collector what stays until the end, all modules and tests: it takes an eighth of the time of small tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """Give each test the usual mask: commands set their process's, and a test that runs one in-process would leave it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def empty_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store in which nothing was recorded yet: a copy of it saves a test all migrations."""
    from events.stores.sql import Store

    file = tmp_path_factory.mktemp("empty") / "gridwatch.db"
    Store.open(f"sqlite:///{file}").close()
    return file


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole session; `new_database` makes one, `drop` removes it."""
    if binaries() is None:
        missing("PostgreSQL is not installed (Debian: apt install postgresql); .ci/run has it")
    with PostgresServer() as server:
        yield server
