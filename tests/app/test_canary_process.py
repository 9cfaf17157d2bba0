# SPDX-License-Identifier: AGPL-3.0-or-later
"""The test camera: what it shows, the orders that it takes, and the process that comes back and never outlives its parent."""

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import av
import pytest
import structlog.testing

from gridwatch.app import canary_process
from gridwatch.app.canary_process import FIRST_PAUSE_S, READY_WITHIN_S, CanaryProcess
from gridwatch.core.clock import ManualClock, SystemClock
from gridwatch.simulator.canary import CanaryScene, burns_asked, lines_of
from tests.app.watching import until

START = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)


@pytest.fixture
def process():
    made = CanaryProcess(SystemClock())
    yield made
    made.stop()


def test_the_scene_burns_when_asked_and_goes_out(tmp_path):
    """Nothing in it looks like fire before and after; it lives all the time, so that it is not taken for frozen."""
    scene = CanaryScene()
    quiet = [scene.render(index) for index in range(2)]
    assert (quiet[0] != quiet[1]).any()
    assert reddish(quiet[0]) < 0.001
    scene.burn(10)
    burning = [scene.render(2 + index) for index in range(40)][-1]
    assert reddish(burning) > 0.01
    after = scene.render(2 + 40 + 5 * 20)
    assert reddish(after) < 0.001


def reddish(picture):
    """Return the share of pixels that are far more red than blue, and bright."""
    blue, red = picture[..., 0].astype(int), picture[..., 2].astype(int)
    return float(((red - blue > 90) & (red > 150)).mean())


def test_orders_that_are_none_are_passed_over():
    """Only a JSON object with sensible seconds sets fire to anything."""
    lines = [
        b'{"burn_s": 5}\n', b"burn\n", b"[1]\n", b'{"burn_s": -1}\n', b'{"burn_s": 1e9}\n', b'{"burn_s": "x"}\n',
        b'{"burn_s": 2.5}\n', b"\xff\n", b"[" * 5_000,
    ]  # fmt: skip
    assert list(burns_asked(lines)) == [5.0, 2.5]


def test_orders_are_read_as_they_come_until_the_end():
    """Lines may come in pieces; one without an end is never taken for an order, however long it grows."""
    reading, writing = os.pipe()
    os.write(writing, b'{"burn_s"')
    os.write(writing, b': 1}\n{"burn_s": 2}\n' + b"x" * 9_000)
    os.write(writing, b'\n{"burn_s": 3}\nrest')
    os.close(writing)
    assert list(burns_asked(lines_of(reading))) == [1.0, 2.0, 3.0]
    os.close(reading)


def test_the_process_comes_back_at_its_address_and_goes_with_its_parent(process):
    """Killed it is started again with the same address; it takes no order while it is gone."""
    url = process.start()
    until(process.keep, within_s=60)
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    assert not process.keep()
    assert not process.burn(1)
    until(process.keep, within_s=60)
    with av.open(url.reveal(), options={"rtsp_transport": "tcp"}, timeout=20) as container:
        assert container.streams.video[0].width > 0
    assert process.burn(1)
    process.stop()
    assert not process.burn(1)
    assert not process.keep()
    assert process.pid is None


def test_nobody_waits_for_it_and_it_takes_no_order_before_it_serves(monkeypatch, tmp_path):
    """One that loads for ever is told as one that does not run, and after minutes it is ended and started anew."""
    (tmp_path / "never_ready.py").write_text("import sys\nsys.stdin.read()\n", "utf-8")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(canary_process, "_MODULE", "never_ready")
    clock = ManualClock(START)
    process = CanaryProcess(clock)
    url = process.start()
    first = process.pid
    clock.advance(READY_WITHIN_S - 1)
    assert not process.keep()
    assert not process.burn(1)
    assert process.pid == first
    clock.advance(2)
    assert not process.keep()
    assert not Path(f"/proc/{first}").exists()
    assert process.pid not in {None, first}
    assert url.host.startswith("127.0.0.1:")
    process.stop()


def test_one_that_keeps_ending_is_tried_again_after_growing_pauses(monkeypatch):
    """An encoder that is missing: again at once, then after 5, 10, 20 seconds and more, never longer than five minutes."""
    monkeypatch.setattr(canary_process, "_MODULE", "gridwatch.simulator.no_such_module")
    clock, began = ManualClock(START), []
    process = CanaryProcess(clock)
    process.start()
    while clock.mono_s() < 1_300:
        if process.pid is not None:
            ended(process)
        last = process.pid
        clock.advance(5)
        assert not process.keep()
        if process.pid not in {None, last}:
            began.append(clock.mono_s())
    assert began == [5, 15, 30, 55, 100, 185, 350, 655, 960, 1265]
    process.stop()


def test_one_that_served_for_a_while_is_started_again_at_once(monkeypatch):
    """What failed before is forgotten then."""
    clock = ManualClock(START)
    process = CanaryProcess(clock)
    with monkeypatch.context() as patch:
        patch.setattr(canary_process, "_MODULE", "gridwatch.simulator.no_such_module")
        process.start()
        for _ in range(2):
            ended(process)
            assert not process.keep()
    clock.advance(5)
    assert not process.keep()
    until(process.keep, within_s=60)
    clock.advance(61)
    os.kill(process.pid, signal.SIGKILL)
    ended(process)
    assert not process.keep()
    assert process.pid is not None
    process.stop()


def test_a_process_that_cannot_be_started_is_told_and_tried_again(monkeypatch):
    """A machine without a free process or memory goes on watching; whoever asks learns that it does not run."""
    clock = ManualClock(START)
    process = CanaryProcess(clock)
    with monkeypatch.context() as patch, structlog.testing.capture_logs() as logs:
        patch.setattr(subprocess, "Popen", refused)
        url = process.start()
        assert not process.keep()
        assert not process.burn(1.0)
        assert not process.keep()
    assert [entry["event"] for entry in logs].count("test_camera_not_started") == 2
    assert process.pid is None
    clock.advance(FIRST_PAUSE_S)
    assert not process.keep()
    until(process.keep, within_s=60)
    assert url.host
    process.stop()


def refused(*_arguments, **_options):
    raise BlockingIOError(11, "Resource temporarily unavailable")


def ended(process):
    """Wait until the process has ended, and leave it to `keep` to find that out."""
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_the_test_camera_ends_with_whoever_started_it():
    """When the parent is gone, kill -9 included, its standard input ends, and so does it."""
    starter = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen([sys.executable, '-m', 'gridwatch.simulator.canary'], stdin=subprocess.PIPE,"
        " stdout=subprocess.PIPE)\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 30
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    left_behind = alive(pid)
    if left_behind:
        os.kill(pid, signal.SIGKILL)
    assert not left_behind


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
