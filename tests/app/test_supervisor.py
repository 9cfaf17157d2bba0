# SPDX-License-Identifier: AGPL-3.0-or-later
"""The small parent: real processes, real signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

CHILD = """
import os, sys, threading
from pathlib import Path
from gridwatch.app.supervisor import end_with_parent
stop = threading.Event()
end_with_parent(stop.set)
Path(sys.argv[1]).open("a").write(f"{os.getpid()}\\n")
import signal
signal.signal(signal.SIGTERM, lambda *_: stop.set())
stop.wait()
"""
PARENT = """
import sys
from gridwatch.app.supervisor import supervise
sys.exit(supervise([sys.executable, "-c", sys.argv[1], sys.argv[2]]))
"""


def start(child: str, pids: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PARENT, child, str(pids)], stderr=subprocess.DEVNULL)


def wait_for_pids(pids: Path, count: int, timeout_s: float = 5.0) -> list[int]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = [int(line) for line in pids.read_text().split()] if pids.exists() else []
        if len(found) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no {count} children after {timeout_s} s")


def gone(pid: int, timeout_s: float = 5.0) -> bool:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except (ProcessLookupError, FileNotFoundError):
            return True
        time.sleep(0.02)
    return False


def test_a_killed_child_is_replaced_within_5_s(tmp_path):
    """Kill -9 of the child: another one is there in time."""
    pids = tmp_path / "pids"
    parent = start(CHILD, pids)
    try:
        (first,) = wait_for_pids(pids, 1)
        os.kill(first, signal.SIGKILL)
        assert wait_for_pids(pids, 2)[1] != first
    finally:
        parent.terminate()
        assert parent.wait(10) == 0


def test_the_child_ends_when_its_parent_is_killed(tmp_path):
    """Kill -9 of the parent leaves nobody behind."""
    pids = tmp_path / "pids"
    parent = start(CHILD, pids)
    (child,) = wait_for_pids(pids, 1)
    parent.kill()
    parent.wait(5)
    assert gone(child)


@pytest.mark.parametrize("code", [0, 2])
def test_a_child_that_ended_on_purpose_is_not_restarted(tmp_path, code):
    """0 is done, 2 is wrong input: a restart would help neither."""
    pids = tmp_path / "pids"
    parent = start(f"import sys; open(sys.argv[1], 'a').write('1\\n'); sys.exit({code})", pids)
    assert parent.wait(10) == code
    assert pids.read_text() == "1\n"


def test_a_stop_reaches_the_child(tmp_path):
    """SIGTERM to the parent ends both."""
    pids = tmp_path / "pids"
    parent = start(CHILD, pids)
    (child,) = wait_for_pids(pids, 1)
    parent.terminate()
    assert parent.wait(10) == 0
    assert gone(child)
