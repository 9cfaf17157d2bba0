# SPDX-License-Identifier: AGPL-3.0-or-later
"""The small parent: real processes, real signals."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gridwatch.app import supervisor

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
from gridwatch.app import supervisor
supervisor.HUNG_AFTER_S = 1.0
sys.exit(supervisor.Supervisor([sys.executable, "-c", sys.argv[1], sys.argv[2]]).run())
"""


def start(child: str, pids: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", PARENT, child, str(pids)], stderr=subprocess.DEVNULL)


def wait_for_pids(pids: Path, count: int, timeout_s: float = 30.0) -> list[int]:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = [int(line) for line in pids.read_text().split()] if pids.exists() else []
        if len(found) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"no {count} children after {timeout_s} s")


def gone(pid: int, timeout_s: float = 30.0) -> bool:
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
    """Kill -9 of the child: another one is there, and whatever went before, no pause is as long as that."""
    assert supervisor.LONGEST_DELAY_S < 5
    pids = tmp_path / "pids"
    parent = start(CHILD, pids)
    try:
        (first,) = wait_for_pids(pids, 1)
        os.kill(first, signal.SIGKILL)
        assert wait_for_pids(pids, 2)[1] != first
    finally:
        parent.terminate()
        assert parent.wait(30) == 0


def test_the_child_ends_when_its_parent_is_killed(tmp_path):
    """Kill -9 of the parent leaves nobody behind."""
    pids = tmp_path / "pids"
    parent = start(CHILD, pids)
    (child,) = wait_for_pids(pids, 1)
    parent.kill()
    parent.wait(30)
    assert gone(child)


@pytest.mark.parametrize("code", [0, 2])
def test_a_child_that_ended_on_purpose_is_not_restarted(tmp_path, code):
    """0 is done, 2 is wrong input: a restart would help neither."""
    pids = tmp_path / "pids"
    parent = start(f"import sys; open(sys.argv[1], 'a').write('1\\n'); sys.exit({code})", pids)
    assert parent.wait(30) == code
    assert pids.read_text() == "1\n"


HANGS = """
import os, sys, time
from pathlib import Path
from gridwatch.app.supervisor import heartbeat
Path(sys.argv[1]).open("a").write(f"{os.getpid()}\\n")
heartbeat()()
time.sleep(60)
"""
BEATS = HANGS.replace(
    "heartbeat()()\ntime.sleep(60)", "beat = heartbeat()\nwhile True: beat(); time.sleep(0.2)"
)
BREAKS = HANGS.replace("time.sleep(60)", "sys.exit(2)")


def test_a_child_that_lives_but_has_stopped_beating_is_replaced(tmp_path):
    """A deadlock is as blind as a crash, and nobody would see it."""
    pids = tmp_path / "pids"
    parent = start(HANGS, pids)
    try:
        first, second = wait_for_pids(pids, 2)[:2]
        assert first != second
        assert gone(first)
    finally:
        parent.terminate()
        assert parent.wait(30) == 0


def test_a_child_that_beats_is_left_alone(tmp_path):
    """Beats within the bound keep it."""
    pids = tmp_path / "pids"
    parent = start(BEATS, pids)
    try:
        wait_for_pids(pids, 1)
        time.sleep(2.5)
        assert len(wait_for_pids(pids, 1)) == 1
    finally:
        parent.terminate()
        assert parent.wait(30) == 0


def test_a_file_broken_while_it_ran_well_does_not_end_it(tmp_path):
    """Once a child was healthy, wrong input is tried again until somebody mends it."""
    pids = tmp_path / "pids"
    parent = start(BREAKS, pids)
    try:
        assert len(wait_for_pids(pids, 2)) >= 2
    finally:
        parent.terminate()
        assert parent.wait(30) == 0


def test_a_stop_reaches_the_child(tmp_path):
    """SIGTERM to the parent ends both."""
    pids = tmp_path / "pids"
    parent = start(CHILD, pids)
    (child,) = wait_for_pids(pids, 1)
    parent.terminate()
    assert parent.wait(30) == 0
    assert gone(child)


@pytest.mark.parametrize("given", [None, "glibc.malloc.check=0"])
def test_the_child_allocates_as_was_measured_unless_somebody_wants_it_otherwise(tmp_path, monkeypatch, given):
    """Two arenas and large pages; what stands in the environment already is left as it is."""
    for name in supervisor.ALLOCATION:
        monkeypatch.delenv(name, raising=False)
    if given is not None:
        monkeypatch.setenv("GLIBC_TUNABLES", given)
    told = tmp_path / "environment"
    child = (
        "import os, sys; from pathlib import Path; "
        "Path(sys.argv[1]).write_text('\\n'.join(f'{k}={v}' for k, v in os.environ.items()))"
    )
    process = start(child, told)
    process.wait(30)
    found = told.read_text().splitlines()
    assert "MALLOC_ARENA_MAX=2" in found
    assert f"GLIBC_TUNABLES={given or 'glibc.malloc.hugetlb=1'}" in found
