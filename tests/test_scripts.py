# SPDX-License-Identifier: AGPL-3.0-or-later
"""The scripts on a machine that lacks something: one clear sentence, exit 2."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path) -> Path:
    """A copy of what the scripts read, in a folder with a space in its name and without .venv."""
    folder = tmp_path / "a clone"
    for name in ("scripts", "requirements"):
        shutil.copytree(ROOT / name, folder / name)
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


def fake_python(folder: Path, *, fails_on: str) -> str:
    """Return a program that is this Python, except that it fails on code with these words in it."""
    program = folder / "some python"
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *"{fails_on}"*) exit 1;; esac\nexec "{sys.executable}" "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


def run(checkout: Path, name: str, python: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "GRIDWATCH_PYTHON": python}
    return subprocess.run(
        [str(checkout / "scripts" / name)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", ["demo", "test"])
def test_an_unsupported_python_is_told_in_one_sentence(checkout, tmp_path, name):
    """Which version is needed, which is there, what to install."""
    ended = run(checkout, name, fake_python(tmp_path, fails_on="version_info"))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "needs Python 3.11 or newer" in line
    assert not (checkout / ".venv").exists()


def test_no_python_at_all_is_told_in_one_sentence(checkout):
    """A name that leads nowhere gives no shell noise."""
    ended = run(checkout, "demo", "no-such-python")
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "found none" in line


@pytest.mark.parametrize("name", ["demo", "test"])
def test_a_missing_venv_module_is_told_in_one_sentence(checkout, tmp_path, name):
    """Debian keeps it in a package of its own; the sentence names it."""
    ended = run(checkout, name, fake_python(tmp_path, fails_on="ensurepip"))
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "apt install python3-venv" in line


def test_a_half_made_environment_is_made_anew(checkout, tmp_path):
    """Whoever was interrupted runs the command again and is not stuck."""
    broken = checkout / ".venv" / "bin"
    broken.mkdir(parents=True)
    (broken / "python").write_text("#!/bin/sh\nexit 1\n")
    (broken / "python").chmod(0o755)
    ended = run(checkout, "demo", fake_python(tmp_path, fails_on="-m venv"))
    assert "Making .venv with Python" in ended.stderr
    assert not broken.exists()


def test_check_refuses_sources_of_ones_own():
    """The proof is about its own scenes; nothing is silently ignored."""
    ended = subprocess.run(
        [sys.executable, "-m", "gridwatch.app.demo", "--check", "gate=rtsp://127.0.0.1:1/x"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "leave out --check" in ended.stderr


def test_a_clip_that_is_no_video_is_told_in_one_sentence(tmp_path):
    """What the simulator says of it reaches the person who asked."""
    clip = tmp_path / "bad.mp4"
    clip.write_bytes(b"no video")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ended = subprocess.run(
        [sys.executable, "-m", "gridwatch.app.demo", str(clip), "--port", str(port)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    shutil.rmtree(ROOT / "run" / f"demo-{port}", ignore_errors=True)
    assert ended.returncode == 2
    assert "bad.mp4" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_taken_port_is_told_in_one_sentence():
    """The demo says which port, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = subprocess.run(
            [sys.executable, "-m", "gridwatch.app.demo", "--port", str(port)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert ended.returncode == 2
    assert (
        ended.stderr.strip()
        == f"port {port} on 127.0.0.1 is taken; stop what uses it or choose another with --port"
    )


def test_a_source_that_is_not_there_is_told_in_one_sentence(tmp_path):
    """A mistyped clip is named."""
    ended = subprocess.run(
        [sys.executable, "-m", "gridwatch.app.demo", str(tmp_path / "no.mp4"), "--port", "0"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    assert "no.mp4" in ended.stderr
    assert "Traceback" not in ended.stderr
