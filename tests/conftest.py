# SPDX-License-Identifier: AGPL-3.0-or-later
"""What holds for all tests: those that need torch are skipped where it is not installed, and say so."""

from importlib.util import find_spec

import pytest

NEEDED = ("torch", "ultralytics", "safetensors", "nncf")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `torch` on a light installation; `.ci/run` has a full one."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if not missing:
        return
    skip = pytest.mark.skip(reason=f"needs {', '.join(missing)}: .venv-torch has it, .ci/run runs it there")
    for item in items:
        if item.get_closest_marker("torch"):
            item.add_marker(skip)
