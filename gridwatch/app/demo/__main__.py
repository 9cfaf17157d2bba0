# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo's command line; `scripts/demo` calls it. Exit codes: 0 done, 1 the check failed, 2 wrong input."""

import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer

from gridwatch.app.addresses import with_named_password
from gridwatch.app.demo.check import Happening, Plan, run_check
from gridwatch.app.demo.files import write_configuration
from gridwatch.app.demo.observer import Observer
from gridwatch.app.demo.processes import Process, check_port, free_port, together, wait_for_file
from gridwatch.core.errors import GridwatchError, InputError
from gridwatch.core.redact import redact
from gridwatch.core.zone import Kind

ROOT = Path(__file__).resolve().parents[3]
SCENES = ROOT / ".venv" / "scenes" / "ultralytics" / "assets"
CHECK_S = 175.0  # the check ends within 180 s whatever happens
READY_S = 45.0
OWN_READY_S = 15.0  # one's own camera may be away: the console shows it blind
ALERT_WITHIN_S = 45.0  # an alert that comes later than this after the latest onset (or the start) is none
STEP_S = 0.7  # the case desk takes this long for a step of a case
OWN_ZONE = {
    "id": "picture",
    "kinds": [kind.value for kind in Kind],
    "purpose": "demo",
    "crowd": {"limit": 25, "dwell_s": 10},
    "traffic": {"stopped_dwell_s": 60},
}

command = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@command.command()
def demo(
    sources: Annotated[
        list[str] | None, typer.Argument(help="Your own: clips (H.264 MP4) or NAME=rtsp://…")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Prove the whole chain and end.")] = False,
    seed: Annotated[
        int | None, typer.Option(help="Repeat these scenes; drawn anew where nothing is said.")
    ] = None,
    without: Annotated[
        Kind | None, typer.Option(help="Leave this event out of the scenes: the check must fail.")
    ] = None,
    flame_in_quiet: Annotated[
        bool, typer.Option(help="Put a flame where none belongs: the check must fail.")
    ] = False,
    port: Annotated[int, typer.Option(help="Port of the console.")] = 8000,
) -> None:
    """Run the whole chain: RTSP cameras, detection, incidents, console, case queue and a case desk that answers.

    It says 疑似 (suspected) and is no certified fire alarm.
    """
    given, clips = _own_sources(sources or [])
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    scenes = _scene_arguments(seed, without, flame_in_quiet=flame_in_quiet)
    if check:
        if given or clips:
            raise InputError(
                "--check proves the chain on its own scenes; leave out --check to watch your own cameras"
            )
        with tempfile.TemporaryDirectory(prefix="gridwatch-") as scratch:
            raise typer.Exit(_check(Path(scratch), scenes, seed))
    check_port(port)
    folder = ROOT / "run" / f"demo-{port}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    _show(folder, scenes, (given, clips), port)


def _scene_arguments(seed: int, without: Kind | None, *, flame_in_quiet: bool) -> list[str]:
    arguments = ["gridwatch.simulator.demo", "--seed", str(seed), "--assets", str(SCENES)]
    arguments += ["--without", without.value] if without else []
    return [*arguments, "--flame-in-quiet"] if flame_in_quiet else arguments


def _start(processes: list[Process], folder: Path, cameras: list[dict[str, Any]], port: int) -> Observer:
    """Start gridwatch and the case desk; return what watches them."""
    config = write_configuration(folder, cameras, port=port, threads=os.cpu_count() or 1)
    watcher = Process.start("gridwatch", ["gridwatch.app.cli", "run", "--config", str(config)], folder)
    processes.append(watcher)
    url = wait_for_file(folder / "state" / "queue" / "url", watcher, READY_S)
    state = ["--state", str(folder / "case-desk.db"), "--step-s", str(STEP_S), "--with-parent"]
    processes.append(
        Process.start("case-desk", ["gridwatch.app.cli", "case-desk", "--redis", url, *state], folder)
    )
    return Observer(f"http://127.0.0.1:{port}", url)


def _check(folder: Path, scenes: list[str], seed: int) -> int:
    started = time.time()
    with together() as processes:
        simulator = Process.start("simulator", scenes, folder, tells=True)
        processes.append(simulator)
        city = simulator.first_line(READY_S)
        observer = _start(processes, folder, city["cameras"], free_port())
        if not observer.wait_until_seeing(len(city["cameras"]), READY_S):
            raise processes[1].failure(
                f"does not see all {len(city['cameras'])} cameras after {READY_S:.0f} s"
            )
        typer.echo(
            f"seed {seed}: {len(city['cameras'])} cameras seen, {time.time() - started:.1f} s after the start"
        )
        plan = _plan(city, end_by=started + CHECK_S)
        failures = run_check(observer, plan, typer.echo)
    for failure in failures:
        typer.echo(f"FAIL {failure}")
    if not failures:
        typer.echo(f"PASS seed={seed}")
    return 1 if failures else 0


def _plan(city: dict[str, Any], end_by: float) -> Plan:
    """Ask the simulator what will happen when, in wall time."""
    with socket.create_connection(("127.0.0.1", city["control"]), timeout=READY_S) as connection:
        connection.sendall(b'{"ask": "timeline"}\n')
        timeline = json.loads(connection.makefile().readline())
    happenings = tuple(
        Happening(Kind(event["kind"]), event["camera"], event["onset_at"]) for event in timeline["truth"]
    )
    begun = max(
        timeline["origin"] + city["last_onset_s"], time.time()
    )  # a slow start sees what already burns
    alert_by = begun + ALERT_WITHIN_S
    return Plan(happenings, frozenset(city["quiet"]), alert_by=min(alert_by, end_by), end_by=end_by)


def _show(folder: Path, scenes: list[str], own: tuple[dict[str, str], list[Path]], port: int) -> None:
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with together() as processes:
        cameras = (
            _own_cameras(processes, folder, *own) if any(own) else _scene_cameras(processes, folder, scenes)
        )
        observer = _start(processes, folder, cameras, port)
        seeing = observer.wait_until_seeing(len(cameras), READY_S if not any(own) else OWN_READY_S)
        typer.echo(_banner(observer, len(cameras), folder, time.monotonic() - began))
        if not seeing:
            typer.echo("Not every camera is seen yet; the console says which, and why.")
        try:
            while all(process.popen.poll() is None for process in processes):
                time.sleep(0.5)
        except KeyboardInterrupt:
            return
        ended = next(process for process in processes if process.popen.poll() is not None)
        raise ended.failure("ended")


def _scene_cameras(processes: list[Process], folder: Path, scenes: list[str]) -> list[dict[str, Any]]:
    simulator = Process.start("simulator", scenes, folder, tells=True)
    processes.append(simulator)
    cameras: list[dict[str, Any]] = simulator.first_line(READY_S)["cameras"]
    return cameras


def _own_sources(sources: list[str]) -> tuple[dict[str, str], list[Path]]:
    """Return the user's own streams by name, and clips. A password goes into the environment: no file may hold one.

    Raises:
        InputError: a clip is not there, or a name is used twice.
    """
    given: dict[str, str] = {}
    clips: list[Path] = []
    for source in sources:
        name, _, url = source.partition("=")
        if not url.startswith(("rtsp://", "rtsps://")):
            clips.append(Path(source))
        elif name in given:
            raise InputError(f"the name {name!r} is used twice; give each stream its own NAME=rtsp://…")
        else:
            given[name] = with_named_password(url, f"DEMO_PASSWORD_{len(given) + 1}")
    missing = [clip for clip in clips if not clip.is_file()]
    if missing:
        raise InputError("is neither a clip that is there nor NAME=rtsp://…", file=missing[0])
    return given, clips


def _own_cameras(
    processes: list[Process], folder: Path, given: dict[str, str], clips: list[Path]
) -> list[dict[str, Any]]:
    """Return cameras for the user's own streams (used as they are) and clips (served by the simulator)."""
    found = dict(given)
    if clips:
        arguments = ["gridwatch.app.cli", "simulate", "--port", "0", "--with-parent", *map(str, clips)]
        simulator = Process.start("simulator", arguments, folder, tells=True)
        processes.append(simulator)
        for camera in simulator.first_line(READY_S)["cameras"]:
            found[camera["name"] if camera["name"] not in found else f"{camera['name']}-clip"] = camera["url"]
    return [{"id": name, "name": name, "url": url, "zones": [OWN_ZONE]} for name, url in found.items()]


def _banner(observer: Observer, cameras: int, folder: Path, seconds: float) -> str:
    return "\n".join(
        [
            f"Watching {cameras} cameras, {seconds:.1f} s after the start. Ctrl-C ends the demo.",
            f"  console   {observer.base_url}/",
            f"  API       {observer.base_url}/docs   alerts: {observer.base_url}/api/v1/alerts",
            f"  queue     {observer.queue_url}   (stream gridwatch:cases)",
            f"  files     {folder}",
            "Events begin within about a minute. 疑似 means suspected; this is no certified fire alarm.",
        ]
    )


def main() -> None:
    """Run the demo; end with one clear sentence where something is wrong."""
    try:
        command()
    except KeyboardInterrupt:
        sys.exit(130)  # as a shell has it: 128 and the signal's number
    except InputError as error:
        typer.echo(error, err=True)
        sys.exit(2)
    except (GridwatchError, httpx.HTTPError) as error:
        typer.echo(getattr(error, "log", ""), err=True)
        typer.echo(f"FAIL {redact(str(error))}")
        sys.exit(1)


if __name__ == "__main__":
    main()
