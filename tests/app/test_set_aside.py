# SPDX-License-Identifier: AGPL-3.0-or-later
"""A stream that crashes the decoder: real children, real decoding, a real SIGSEGV; and the list of those set aside."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import av
import numpy as np
import pytest
import structlog.testing

from gridwatch.app import set_aside

NOW = datetime(2026, 11, 26, 1, 0, tzinfo=UTC)
PARENT = """
import sys
from pathlib import Path
from gridwatch.app import supervisor
from gridwatch.app.run import noting_crashes
supervisor.HUNG_AFTER_S, supervisor.STUCK_IN_DECODER_S = 2.5, 1.2
command = [sys.executable, "-c", *sys.argv[1:]]
sys.exit(supervisor.Supervisor(command, crashed=noting_crashes(Path(sys.argv[2]))).run())
"""
# Decodes the key frames of a clip for two cameras in turn, as a decoder thread does, and writes down which it decoded.
# Its decoder has a fault: at a picture of the camera `damaged` it reads where nothing is.
CHILD = """
import ctypes, os, sys, threading, time
from pathlib import Path
from gridwatch.app import set_aside
from gridwatch.app.supervisor import decoding_page, end_with_parent, heartbeat
from gridwatch.core.clock import SystemClock
from ingest.decoder import KeyDecoder
from ingest.files import FileSource
state, clip, mode = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
stop = threading.Event()
end_with_parent(stop.set)
page, beat, decoder = decoding_page(), heartbeat(), KeyDecoder()
aside = set_aside.load(state)
class Damaged(KeyDecoder):
    def decode(self, packet):
        frame = super().decode(packet)
        if packet.camera_id == "damaged" and turn >= 2:
            if mode == "crash":
                ctypes.string_at(0)
            if mode == "hang":
                time.sleep(60)
        return frame
decoder = Damaged()
with (state / "decoded").open("a", buffering=1) as out:
    for turn in range(100_000):
        for camera_id in ("healthy", "damaged"):
            if camera_id in aside or stop.is_set():
                continue
            with FileSource(camera_id, Path(clip), SystemClock()) as source:
                packet = next(source.packets())
            with page.decoding(0, camera_id):
                decoder.decode(packet)
            out.write(f"{time.monotonic()} {os.getpid()} {camera_id}\\n")
        beat()
        if stop.wait(0.05):
            break
"""


@pytest.fixture
def clip(tmp_path):
    file = tmp_path / "clip.mp4"
    with av.open(file, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        picture = np.random.default_rng(1).integers(0, 255, (96, 160, 3), dtype=np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    return file


@pytest.fixture
def start(tmp_path, clip):
    parents = []

    def run(mode):
        command = [sys.executable, "-c", PARENT, CHILD, str(tmp_path), str(clip), mode]
        with (tmp_path / "log").open("wb") as log:
            parents.append(subprocess.Popen(command, stdout=log, stderr=log))

    yield run
    for parent in parents:
        parent.terminate()
        assert parent.wait(25) == 0


def decoded(folder):
    """Return (when, which process, which camera) of everything that was decoded so far."""
    file = folder / "decoded"
    lines = file.read_text().splitlines() if file.exists() else []
    return [(float(at), int(pid), camera) for at, pid, camera in map(str.split, lines)]


def wait_for(condition, what, within_s=60.0):
    end = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < end, f"{what} not within {within_s} s"
        time.sleep(0.02)
    return found


def processes(folder):
    return list(dict.fromkeys(pid for _, pid, _ in decoded(folder)))


@pytest.mark.timeout(120)
def test_a_stream_that_crashes_the_decoder_is_set_aside_the_second_time(tmp_path, start):
    """Each time a new process is there within 5 s; after the second crash the others go on without that camera."""
    start("crash")
    wait_for(lambda: set_aside.load(tmp_path), "set aside")
    wait_for(
        lambda: (
            len(processes(tmp_path)) == 3
            and sum(pid == processes(tmp_path)[2] for _, pid, _ in decoded(tmp_path)) > 5
        ),
        "a third process that decodes",
    )
    found = decoded(tmp_path)
    first, second, third = processes(tmp_path)
    for before, after in ((first, second), (second, third)):
        last = max(at for at, pid, _ in found if pid == before)
        assert min(at for at, pid, _ in found if pid == after) - last < 5
    assert {camera for _, pid, camera in found if pid == third} == {"healthy"}
    (entry,) = set_aside.load(tmp_path).items()
    assert entry[0] == "damaged"
    assert (entry[1].crashes, entry[1].reason) == (
        2,
        "the decoder crashed 2 times while it had this stream (SIGSEGV)",
    )
    log = (tmp_path / "log").read_text()
    assert log.count("child_crashed") == 2
    assert "camera_set_aside" in log


@pytest.mark.timeout(120)
def test_a_stream_that_hangs_the_decoder_is_set_aside_like_one_that_crashes_it(tmp_path, start):
    """The process is replaced because it does not beat; what the decoder did not give back is to blame."""
    start("hang")
    aside = wait_for(lambda: set_aside.load(tmp_path), "set aside")
    assert "damaged" in aside
    assert "it did not come back" in aside["damaged"].reason


@pytest.mark.timeout(120)
def test_a_process_that_others_killed_says_nothing_against_a_camera(tmp_path, start):
    """Kill -9 and the kernel's out-of-memory killer strike whatever is being decoded."""
    start("none")
    for number in (1, 2):
        pid = wait_for(lambda: processes(tmp_path)[number - 1 :], "a process")[0]  # noqa: B023  called at once
        os.kill(pid, signal.SIGKILL)
    wait_for(lambda: len(processes(tmp_path)) == 3, "a third process")
    assert "child_crashed" not in (tmp_path / "log").read_text()
    assert not (tmp_path / set_aside.FILE).exists()


def test_one_crash_is_noted_and_a_second_one_sets_aside(tmp_path):
    """By chance another camera is in the decoder beside the one that crashes it: it has to be there twice."""
    assert set_aside.note_crash(tmp_path, ["a", "b"], NOW, "SIGSEGV") == []
    assert set_aside.load(tmp_path) == {}
    assert set_aside.note_crash(tmp_path, ["a", "c"], NOW, "SIGBUS") == ["a"]
    assert set_aside.note_crash(tmp_path, ["a"], NOW, "SIGBUS") == []
    assert list(set_aside.load(tmp_path)) == ["a"]


def test_a_crash_is_forgotten_after_a_week(tmp_path):
    """Two crashes that have nothing to do with each other blame nobody."""
    set_aside.note_crash(tmp_path, ["a"], NOW, "SIGSEGV")
    later = NOW + timedelta(days=7, seconds=1)
    assert set_aside.note_crash(tmp_path, ["b"], later, "SIGSEGV") == []
    assert list(json.loads((tmp_path / set_aside.FILE).read_text())["crashes"]) == ["b"]
    assert set_aside.note_crash(tmp_path, ["a"], later, "SIGSEGV") == []


def test_a_resumed_camera_begins_with_a_clean_sheet(tmp_path):
    """After somebody looked at it, it takes two crashes again."""
    for _ in range(2):
        set_aside.note_crash(tmp_path, ["a"], NOW, "SIGSEGV")
    assert set_aside.resume(tmp_path, "a")
    assert not set_aside.resume(tmp_path, "a")
    assert set_aside.note_crash(tmp_path, ["a"], NOW, "SIGSEGV") == []
    assert set_aside.resume(tmp_path, "a")  # its one crash
    assert set_aside.load(tmp_path) == {}


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"crashes": {"a": [1]}, "set_aside": {}}', '{"crashes": 3}']
)
def test_a_broken_file_is_told_and_written_anew(tmp_path, text):
    """A crash is survived with it as without it."""
    (tmp_path / set_aside.FILE).write_text(text)
    with structlog.testing.capture_logs() as logs:
        assert set_aside.load(tmp_path) == {}
    assert [entry["event"] for entry in logs] == ["set_aside_not_read"]
    with structlog.testing.capture_logs():
        set_aside.note_crash(tmp_path, ["a"], NOW, "SIGSEGV")
    assert set_aside.note_crash(tmp_path, ["a"], NOW, "SIGSEGV") == ["a"]


def test_the_list_is_bounded(tmp_path, monkeypatch):
    """The oldest entries go."""
    monkeypatch.setattr(set_aside, "MOST", 3)
    ids = [f"c{number}" for number in range(5)]
    for camera_id in ids:
        for _ in range(2):
            set_aside.note_crash(tmp_path, [camera_id], NOW, "SIGSEGV")
    assert list(set_aside.load(tmp_path)) == ids[2:]


def test_parent_and_command_may_change_it_at_the_same_time(tmp_path):
    """Each change is read, made and written under a lock: none is lost."""
    threads = [
        threading.Thread(target=set_aside.note_crash, args=(tmp_path, [f"c{number}"] * 2, NOW, "SIGSEGV"))
        for number in range(16)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(set_aside.load(tmp_path)) == sorted(f"c{number}" for number in range(16))


def test_a_state_folder_that_cannot_be_written_is_said(tmp_path):
    """The caller decides what to do about a full disk."""
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"directory|exists"):
        set_aside.note_crash(tmp_path / "file", ["a"], NOW, "SIGSEGV")
