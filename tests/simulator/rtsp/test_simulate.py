# SPDX-License-Identifier: AGPL-3.0-or-later
"""The simulator as a process of its own."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gridwatch.core.errors import InputError
from gridwatch.simulator.cli import SimulatorOptions, clip_cameras, run_simulator

PROGRAM = """
import json, sys
from pathlib import Path
from gridwatch.simulator.cli import SimulatorOptions, run_simulator
clip, options = sys.argv[1:]
run_simulator(SimulatorOptions(clips=(Path(clip),), cameras=2, port=0, user="viewer", password="look",
                               **json.loads(options)))
"""


@pytest.fixture
def simulator(clip):
    processes = []

    def started(**options):
        pipe = subprocess.PIPE
        command = [sys.executable, "-c", PROGRAM, str(clip), json.dumps(options)]
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe)
        processes.append(process)
        return process, json.loads(process.stdout.readline())

    yield started
    for process in processes:
        with process:  # closes its pipes and waits
            process.kill()


def test_it_says_where_it_listens_and_ends_on_sigterm(simulator, tools):
    """One JSON line with ports and URLs without credentials; then streams; then exit code 0 and silence."""
    process, ready = simulator()
    assert ready["ready"] is True
    assert [camera["name"] for camera in ready["cameras"]] == ["yard", "yard-2"]
    assert ready["cameras"][1]["url"] == f"rtsp://127.0.0.1:{ready['rtsp']}/yard-2"
    assert len(tools.ask(ready["control"])["cameras"]) == 2
    with tools.watching(ready["rtsp"], "yard-2") as container:
        assert next(container.demux(video=0)).is_keyframe
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert process.stdout.read() == b""
    assert process.stderr.read() == b""


def test_it_ends_with_its_parent(simulator):
    """The end of standard input ends it, if that was asked for."""
    process, _ = simulator(with_parent=True)
    process.stdin.close()
    assert process.wait(20) == 0


def test_it_outlives_its_standard_input_otherwise(simulator):
    """A simulator that was not told to end with its parent goes on."""
    process, _ = simulator()
    process.stdin.close()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)


@pytest.mark.parametrize(
    "options",
    [
        {"clips": ()},
        {"cameras": 0},
        {"cameras": 5000},
        {"user": "viewer"},
        {"password": "look"},
        {"clips": (Path("nowhere.mp4"),)},
        {"auth": "none", "user": "viewer", "password": "look"},
        {"faults": ("quake",)},
        {"faults": ("stall@attic",)},
    ],
)
def test_wrong_options_are_told_in_one_sentence(clip, options):
    """No clip, an impossible number, half a login, a missing file, a fault or a camera that there is not."""
    with pytest.raises(InputError):
        run_simulator(SimulatorOptions(**{"clips": (clip,), "port": 0} | options))


def test_flags_give_second_streams_ports_and_faults(simulator, tools):
    """A smaller stream at PATH/sub, ports that lead to one camera each, and a fault that is on from the start."""
    _, ready = simulator(sub=True, own_ports=True, auth="basic", faults=["busy@yard-2"])
    first, second = ready["cameras"]
    assert first["sub_url"].endswith("/yard/sub")
    ports = {
        int(url.split(":")[2].split("/")[0])
        for one in (first, second)
        for url in (one["url"], one["sub_url"])
    }
    assert len(ports | {ready["rtsp"]}) == 5
    with tools.watching(int(first["sub_url"].split(":")[2].split("/")[0]), "yard/sub") as container:
        assert container.streams.video[0].width == 640
    with tools.RawClient(ready["rtsp"], "yard-2") as client:
        assert client.ask("OPTIONS")[0] == 453


def test_cameras_have_paths_and_phases_of_their_own():
    """Clips repeat; names that a URL cannot carry are replaced; no two cameras have the same phase."""
    cameras = clip_cameras([Path("a/门 口.mp4"), Path("b/yard.mp4"), Path("c/yard.mp4")], 5)
    assert [camera.path for camera in cameras] == ["camera", "yard", "yard-2", "camera-2", "yard-3"]
    phases = [camera.feed.phase_s for camera in cameras]
    assert len({round(phase % 2, 2) for phase in phases}) == 5


def test_a_password_does_not_show_in_the_options(clip):
    """They can be printed."""
    assert "look" not in repr(SimulatorOptions(clips=(clip,), user="viewer", password="look"))
