# SPDX-License-Identifier: AGPL-3.0-or-later
"""The small parent of `gridwatch run`: restarts its child within 5 s, and the child dies with it.

The child's standard input is a pipe that only the parent holds open: when the parent is gone, however it ended, the
child reads end-of-file and ends too. The other way goes a heartbeat: a child that lives but has stopped beating (a
deadlock in native code, say) sees nothing and says nothing, so it is killed and replaced like one that crashed.

Both hold a page that names the cameras being decoded. After a crash in native code the parent reads it and tells who was
there; a child that others killed says nothing against any camera.
"""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from gridwatch.core.parent import when_parent_is_gone
from ingest.decoding_page import DecodingPage

log = structlog.get_logger()

WRONG_INPUT = 2  # exit code of a child that can't be helped by a restart
FIRST_DELAY_S = 0.2
LONGEST_DELAY_S = 4.0  # so that a new child is there within 5 s whatever the history
HEALTHY_AFTER_S = 60.0
STOP_TIMEOUT_S = 20.0
KEEP_EVERY_S = 2.0
HEARTBEAT_FD = "GRIDWATCH_HEARTBEAT_FD"  # the pipe's end that the child writes to
HUNG_AFTER_S = 20.0  # without a beat; the child beats every second
START_WITHIN_S = 120.0  # until the first beat: weights are read and graphs compiled before it
PAGE_FD = "GRIDWATCH_DECODING_FD"  # the page that names the cameras being decoded
STUCK_IN_DECODER_S = (
    30.0  # so long in the decoder, a stream is taken for what hung the child; key frames take milliseconds
)
# glibc gives each of hundreds of threads an arena of its own, and what is freed in one stays there (docs/network.md). And it
# asks for large pages: packets and pictures are touched once each, all over the memory, and a tenth of the CPU goes into
# finding out where a small page is (docs/performance.md).
ALLOCATION = {"MALLOC_ARENA_MAX": "2", "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}
FAULTS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT})
Crashed = Callable[[Sequence[str], str], None]


class Child:
    """One child process, and how long ago its heart beat."""

    def __init__(self, command: Sequence[str], page: DecodingPage) -> None:
        self._beats, beats_in = os.pipe()
        os.set_blocking(self._beats, False)
        environment = {
            **ALLOCATION,
            **os.environ,
            HEARTBEAT_FD: str(beats_in),
            PAGE_FD: str(page.descriptor),
        }
        inherited = (beats_in, page.descriptor)
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, pass_fds=inherited)
        os.close(beats_in)
        self._silent_since, self.has_beaten, self.was_hung = time.monotonic(), False, False

    def hung(self) -> bool:
        """Tell whether no heartbeat came for too long."""
        with contextlib.suppress(BlockingIOError):
            if os.read(self._beats, 4096):
                self._silent_since, self.has_beaten = time.monotonic(), True
        return time.monotonic() - self._silent_since > (HUNG_AFTER_S if self.has_beaten else START_WITHIN_S)

    def close(self) -> None:
        """Let go of both pipes."""
        os.close(self._beats)
        if self.process.stdin is not None:
            self.process.stdin.close()


class Supervisor:
    """Keeps one child running.

    Args:
        command: the child's.
        keep: called about every two seconds, to keep what else the parent holds.
        crashed: told after a crash in native code which cameras were being decoded, and what ended the child.
    """

    def __init__(
        self,
        command: Sequence[str],
        keep: Callable[[], None] = lambda: None,
        crashed: Crashed = lambda _cameras, _cause: None,
    ) -> None:
        self._command, self._keep, self._crashed = command, keep, crashed
        self._page = DecodingPage.create()
        self._stopping = threading.Event()
        self._was_healthy = False

    def run(self) -> int:
        """Run children until one ends with 0, or with 2 before any was healthy, or until this process is told to stop.

        A configuration that was broken while a healthy system ran must not end it at the next crash: then the child is
        tried again until somebody mends the file.

        Returns:
            The exit code for this process.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stopping.set())
        delay_s = FIRST_DELAY_S
        while True:
            started = time.monotonic()
            code = self._run_one()
            if self._stopping.is_set() or code == 0:
                return 0
            if code == WRONG_INPUT and not self._was_healthy:
                return code
            delay_s = (
                FIRST_DELAY_S
                if time.monotonic() - started > HEALTHY_AFTER_S
                else min(delay_s * 2, LONGEST_DELAY_S)
            )
            log.error("child_ended", exit_code=code, restart_in_s=round(delay_s, 1))
            self._stopping.wait(delay_s)

    def _run_one(self) -> int:
        self._page.clear()
        child = Child(self._command, self._page)
        try:
            code = self._wait(child)
            self._tell_crash(child, code)
            return code
        finally:
            child.hung()  # reads the last beats
            self._was_healthy = self._was_healthy or child.has_beaten
            child.close()

    def _tell_crash(self, child: Child, code: int) -> None:
        """Tell which cameras were in the decoder, if it was there that the child ended."""
        if self._stopping.is_set() or not (child.was_hung or -code in FAULTS):
            return
        cameras = self._page.named(STUCK_IN_DECODER_S if child.was_hung else 0.0)
        cause = "it did not come back" if child.was_hung else signal.Signals(-code).name
        log.error("child_crashed", cause=cause, decoding=cameras)
        if cameras:
            self._crashed(cameras, cause)

    def _wait(self, child: Child) -> int:
        """Wait for the child; kill it when it hangs, or does not end in time after it was told to."""
        kept, deadline = time.monotonic(), None
        while True:
            try:
                return child.process.wait(timeout=0.2)
            except subprocess.TimeoutExpired:
                pass
            now = time.monotonic()
            if self._stopping.is_set():
                if deadline is None:
                    deadline = now + STOP_TIMEOUT_S
                    child.process.terminate()
                if now > deadline:
                    child.process.kill()
            elif child.hung():
                log.error("child_hung", pid=child.process.pid)
                child.was_hung = True
                child.process.send_signal(
                    signal.SIGABRT
                )  # faulthandler writes every thread's stack to the log
                _kill_after(child.process, 1.0)
            elif now - kept >= KEEP_EVERY_S:
                self._keep()
                kept = now


def _kill_after(process: subprocess.Popen[bytes], grace_s: float) -> None:
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()


def heartbeat() -> Callable[[], None]:
    """Return what the child calls every second to say that it lives; does nothing where no parent listens."""
    number = os.environ.get(HEARTBEAT_FD)
    if number is None:
        return lambda: None
    beats = int(number)
    os.set_blocking(beats, False)

    def beat() -> None:
        with contextlib.suppress(OSError):  # a full pipe or a parent that is gone: others deal with that
            os.write(beats, b".")

    return beat


def decoding_page() -> DecodingPage:
    """Return the page on which the child names the cameras that it decodes; one of its own where no parent reads it."""
    number = os.environ.get(PAGE_FD)
    return DecodingPage.create() if number is None else DecodingPage(int(number))


def end_with_parent(stop: Callable[[], None], *, grace_s: float = 3.0) -> None:
    """Call `stop` when the parent is gone; end hard if that takes over `grace_s`."""

    def end() -> None:
        stop()
        time.sleep(grace_s)
        os._exit(1)

    when_parent_is_gone(end)
