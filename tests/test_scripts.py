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
    for name in ("scripts", "requirements", "tests/stubs"):
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


def shell(checkout: Path, commands: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run commands after the scripts' own functions were read, as they themselves do."""
    script = f"set -euo pipefail; . scripts/environment.sh; {commands}"
    environment = {**os.environ, **more}
    return subprocess.run(
        ["bash", "-c", script], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


def test_the_torch_environment_is_one_of_its_own(checkout, tmp_path):
    """It is made beside .venv, and says in one sentence what is missing."""
    python = fake_python(tmp_path, fails_on="ensurepip")
    ended = shell(checkout, "prepare_torch", GRIDWATCH_PYTHON=python)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert "apt install python3-venv" in line
    ended = shell(checkout, "prepare_torch", GRIDWATCH_PYTHON=fake_python(tmp_path, fails_on="-m venv"))
    assert ended.returncode == 2
    assert "Making .venv-torch failed" in ended.stderr


def torch_environment(checkout: Path) -> Path:
    """Put a .venv-torch there whose Python notes what it is called with; return the notes' file."""
    (checkout / ".venv-torch/bin").mkdir(parents=True)
    called = checkout / "called"
    python = checkout / ".venv-torch/bin/python"
    python.write_text(f'#!/bin/sh\necho "$@" >> "{called}"\n')
    python.chmod(0o755)
    return called


def test_torch_is_installed_last_and_without_a_hash(checkout):
    """All else is hashed, resolves nothing, and is there before; a second call installs nothing."""
    called = torch_environment(checkout)
    assert shell(checkout, "prepare_torch").returncode == 0
    installs = [line for line in called.read_text("utf-8").splitlines() if "pip install" in line]
    hashed = [line.split()[-1] for line in installs if "--no-deps --require-hashes" in line]
    assert hashed == ["requirements/dev.lock", "requirements/torch.lock"]
    (torch,) = [line for line in installs if "torch==" in line]
    assert installs.index(torch) > 1
    assert f"{torch.split()[-1]}\n" in (checkout / "requirements/torch.in").read_text("utf-8")
    assert shell(checkout, "prepare_torch").returncode == 0
    assert called.read_text("utf-8").count("pip install") == len(installs)


def test_torch_is_installed_anew_when_its_lock_changes(checkout):
    """The stamp is of the files that the environment was made from; .venv's knows nothing of them."""
    called = torch_environment(checkout)
    assert shell(checkout, "prepare_torch").returncode == 0
    before = called.read_text("utf-8").count("pip install")
    stamp = "stamp_of .venv requirements/run.lock requirements/dev.lock pyproject.toml"
    first = shell(checkout, stamp).stdout
    with (checkout / "requirements/torch.lock").open("a") as lock:
        lock.write("# another\n")
    assert shell(checkout, stamp).stdout == first
    assert shell(checkout, "prepare_torch").returncode == 0
    assert called.read_text("utf-8").count("pip install") == 2 * before


def test_ultralytics_is_kept_offline_and_out_of_the_home_folder(checkout):
    """Whoever prepares torch gets the settings that keep Ultralytics quiet."""
    torch_environment(checkout)
    ended = shell(checkout, 'prepare_torch; echo "$YOLO_OFFLINE $YOLO_AUTOINSTALL $YOLO_CONFIG_DIR"')
    assert ended.stdout.split(maxsplit=2)[:2] == ["true", "false"]
    assert ended.stdout.strip().endswith(f"{checkout.name}/.venv-torch/ultralytics")


def test_an_unknown_benchmark_is_told_in_one_sentence(checkout):
    """The sentence names those that there are."""
    shutil.copytree(
        ROOT / "benchmarks", checkout / "benchmarks", ignore=shutil.ignore_patterns("__pycache__")
    )
    ended = run(checkout, "bench", sys.executable)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert {"inference", "looks"} <= set(line.split("there are: ")[1].split())


def test_the_lock_of_torch_is_hashed_and_leaves_torch_out():
    """Each of its packages is pinned and hashed; torch and torchvision are none of them; one OpenCV."""
    lines = (ROOT / "requirements/torch.lock").read_text("utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith((" ", "#"))]
    names = {line.partition("==")[0] for line in pins}
    assert all(line.endswith("\\") and "==" in line for line in pins)
    assert "\n".join(lines).count("--hash=sha256:") >= len(pins)
    assert not names & {"torch", "torchvision", "ultralytics-platform"}
    assert {name for name in names if name.startswith("opencv")} == {"opencv-python-headless"}
    dev = {line for line in (ROOT / "requirements/dev.lock").read_text("utf-8").splitlines() if "==" in line}
    known = {line.partition("==")[0]: line for line in dev}
    assert [line for line in pins if known.get(line.partition("==")[0], line) != line] == []


def test_a_light_installation_brings_no_inference_stack():
    """torch, Ultralytics and ONNX Runtime come with extras only."""
    names = {
        line.partition("==")[0]
        for line in (ROOT / "requirements/run.lock").read_text("utf-8").splitlines()
        if "==" in line
    }
    assert "openvino" in names
    assert not names & {
        "torch",
        "ultralytics",
        "ultralytics-opencv-headless",
        "onnxruntime",
        "nncf",
        "safetensors",
    }


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
