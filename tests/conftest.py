# SPDX-License-Identifier: AGPL-3.0-or-later
"""What holds for all tests: those that need torch or PostgreSQL are skipped where it is not installed, and say so."""

import os
from collections.abc import Iterator
from importlib.util import find_spec

import pytest

from tests.postgres import PostgresServer, binaries
from tests.servers import missing

NEEDED = ("torch", "ultralytics", "safetensors", "nncf")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `torch` on a light installation; `.ci/run` has a full one."""
    absent = [name for name in NEEDED if find_spec(name) is None]
    if not absent:
        return
    skip = pytest.mark.skip(reason=f"needs {', '.join(absent)}: .venv-torch has it, .ci/run runs it there")
    for item in items:
        if item.get_closest_marker("torch"):
            item.add_marker(skip)


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """Give each test the usual mask: commands set their process's, and a test that runs one in-process would leave it."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresServer]:
    """A PostgreSQL server for the whole session; `new_database` makes one, `drop` removes it."""
    if binaries() is None:
        missing("PostgreSQL is not installed (Debian: apt install postgresql); .ci/run has it")
    with PostgresServer() as server:
        yield server
