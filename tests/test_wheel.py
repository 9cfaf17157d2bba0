# SPDX-License-Identifier: AGPL-3.0-or-later
"""The built wheel works without the checkout: weights, migrations, scenes and texts travel with it."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("gridwatch", "ingest", "detectors", "events", "api", "models")


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def run(unpacked: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(unpacked), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-P", *arguments]
    done = subprocess.run(command, cwd=unpacked, env=environment, check=True, capture_output=True, text=True)
    return done.stdout


def test_every_package_comes_from_the_wheel(unpacked):
    """Nothing is imported from the checkout by accident."""
    code = f"import {', '.join(PACKAGES)}; print(*[p.__file__ for p in ({', '.join(PACKAGES)},)], sep='\\n')"
    files = run(unpacked, "-c", code).split()
    assert [file for file in files if not file.startswith(str(unpacked))] == []


def test_only_the_six_packages_are_in_it(unpacked):
    """No tests, no documents, nothing else."""
    assert {path.name for path in unpacked.iterdir() if not path.name.endswith(".dist-info")} == set(PACKAGES)


def test_the_weights_in_it_are_what_the_catalogue_says(unpacked):
    """`gridwatch models verify` passes on the wheel's own file."""
    assert "is what the catalogue says" in run(unpacked, "-m", "gridwatch.app.cli", "models", "verify")


def test_a_store_can_be_made_from_it(unpacked, tmp_path):
    """The migrations are there."""
    code = f"from events.stores.sql import Store; Store.open('sqlite:///{tmp_path / 'a.db'}').close(); print('made')"
    assert "made" in run(unpacked, "-c", code)
