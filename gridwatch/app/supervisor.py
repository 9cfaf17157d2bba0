# SPDX-License-Identifier: AGPL-3.0-or-later
"""The small parent of `gridwatch run`: restarts its child within 5 s, and the child dies with it.

The child's standard input is a pipe that only the parent holds open: when the parent is gone, however it ended, the
child reads end-of-file and ends too. Nothing else goes through the pipe.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType

import structlog

log = structlog.get_logger()

WRONG_INPUT = 2  # exit code of a child that can't be helped by a restart
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 4.0  # so that a new child is there within 5 s whatever the history
HEALTHY_AFTER_S = 60.0
STOP_TIMEOUT_S = 20.0
KEEP_EVERY_S = 2.0


def supervise(command: Sequence[str], keep: Callable[[], None] = lambda: None) -> int:
    """Run `command` as a child until it ends by itself with 0 or 2, or until this process is told to stop.

    Args:
        keep: called about every two seconds, to keep what else the parent holds.

    Returns:
        The exit code for this process.
    """
    child: subprocess.Popen[bytes] | None = None
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()
        if child is not None and child.poll() is None:
            child.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    delay_s = FIRST_DELAY_S
    while True:
        started = time.monotonic()
        child = subprocess.Popen(command, stdin=subprocess.PIPE)
        if stopping.is_set():
            child.terminate()
        code = _wait(child, stopping, keep)
        if stopping.is_set() or code in (0, WRONG_INPUT):
            return code if code == WRONG_INPUT else 0
        delay_s = (
            FIRST_DELAY_S
            if time.monotonic() - started > HEALTHY_AFTER_S
            else min(delay_s * 2, LONGEST_DELAY_S)
        )
        log.error("child_ended", exit_code=code, restart_in_s=round(delay_s, 1))
        stopping.wait(delay_s)


def _wait(child: subprocess.Popen[bytes], stopping: threading.Event, keep: Callable[[], None]) -> int:
    """Wait for the child; kill it if it does not end in time after it was told to."""
    deadline: float | None = None
    kept = time.monotonic()
    while True:
        try:
            return child.wait(timeout=0.2)
        except subprocess.TimeoutExpired:
            if stopping.is_set():
                deadline = deadline or time.monotonic() + STOP_TIMEOUT_S
                if time.monotonic() > deadline:
                    child.kill()
            elif time.monotonic() - kept >= KEEP_EVERY_S:
                keep()
                kept = time.monotonic()


def end_with_parent(stop: Callable[[], None], *, grace_s: float = 3.0) -> threading.Thread:
    """Call `stop` when standard input ends, because the parent is gone; end hard if that takes over `grace_s`."""

    def watch() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        stop()
        time.sleep(grace_s)
        os._exit(1)

    thread = threading.Thread(target=watch, name="parent-watch", daemon=True)
    thread.start()
    return thread
