# SPDX-License-Identifier: AGPL-3.0-or-later
"""The container files as far as they can be checked without a container engine."""

import json
import re
import shlex
from pathlib import Path

import pytest
import typer.main
import yaml

from gridwatch.app.cli import app

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text("utf-8"))
OURS = {name: service for name, service in COMPOSE["services"].items() if service["image"] == "gridwatch"}


def instructions():
    text = (DOCKER / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def values(name):
    return [value for instruction, value in instructions() if instruction == name]


def command_line():
    return typer.main.get_command(app)


@pytest.mark.parametrize("service", sorted(OURS))
def test_each_service_runs_a_command_that_exists(service):
    """Every command and option of the compose file is one of the command line's."""
    name, *arguments = OURS[service]["command"]
    command = command_line().commands[name]
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in arguments if word.startswith("-")} <= known


def test_the_image_runs_a_command_that_exists():
    """The default of the image is a command of the command line."""
    assert json.loads(values("ENTRYPOINT")[0]) == ["gridwatch"]
    assert json.loads(values("CMD")[0])[0] in command_line().commands


def test_the_image_is_not_root_and_stops_when_told():
    """The last user is a number other than 0; stop signal, health check and volume are there."""
    assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", values("USER")[-1])
    assert values("STOPSIGNAL") == ["SIGTERM"]
    assert values("VOLUME") == ["/var/lib/gridwatch"]
    assert "GRIDWATCH_HEALTH_URL" in values("HEALTHCHECK")[0]


def test_the_health_check_is_python_that_compiles():
    """The health check's program is Python of one line."""
    words = json.loads(values("HEALTHCHECK")[0].partition("CMD ")[2])
    assert words[:2] == ["python", "-c"]
    compile(words[2], "health check", "exec")


def test_what_is_copied_exists_and_reaches_the_builder():
    """Each source of a COPY is in the repository and is let through by the ignore file."""
    allowed = (DOCKER / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    for value in values("COPY"):
        if value.startswith("--from"):
            continue
        *sources, _target = shlex.split(value)
        for source in sources:
            assert (ROOT / source).exists(), source
            assert f"!{source}" in allowed


def test_packages_are_installed_by_hash_alone():
    """The only install that resolves nothing and checks every hash is the one of the lock."""
    installs = [value for value in values("RUN") if "pip install" in value]
    assert all("--no-deps" in value for value in installs)
    assert "--require-hashes -r requirements/run.lock" in installs[0]


@pytest.mark.parametrize("service", sorted(OURS))
def test_services_are_confined(service):
    """Each of our services has a read-only root, no capabilities and the host's network."""
    settings = OURS[service]
    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert settings["network_mode"] == "host"


def test_volumes_are_declared():
    """Each named volume that a service mounts is declared, and each declared one is used."""
    mounts = [mount for service in COMPOSE["services"].values() for mount in service.get("volumes", [])]
    named = {mount.split(":")[0] for mount in mounts if not mount.startswith(".")}
    assert named == set(COMPOSE["volumes"])


def test_the_configuration_has_no_mistakes():
    """The two files under docker/config are read by the product's own reader; the queue is the compose file's."""
    from gridwatch.app.cameras import load_cameras
    from gridwatch.app.settings import load_settings

    settings, _ = load_settings(DOCKER / "config/gridwatch.yaml")
    assert settings.queue.url.get_secret_value() in COMPOSE["services"]["case-desk"]["command"]
    assert str(settings.state) in values("VOLUME")
    (camera,) = load_cameras(DOCKER / "config/cameras.yaml")
    clip, port = COMPOSE["services"]["cameras"]["command"][1], COMPOSE["services"]["cameras"]["command"][-1]
    assert camera.url.reveal() == f"rtsp://127.0.0.1:{port}/{Path(clip).stem}"
