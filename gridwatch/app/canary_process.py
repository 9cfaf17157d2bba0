# SPDX-License-Identifier: AGPL-3.0-or-later
"""The test camera's process: started, asked to burn, started again when it ended, and gone with whoever started it.

Nobody waits for it. One that does not start, or keeps ending, is tried again after growing pauses; watching goes on.
"""

import json
import os
import secrets
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Final, Protocol

import structlog

from gridwatch.core.clock import Clock
from gridwatch.core.processes import end_process
from gridwatch.core.redact import SecretUrl

log = structlog.get_logger()

READY_WITHIN_S: Final = 180.0  # a machine that is overloaded needs minutes to load the scene
FIRST_PAUSE_S: Final = 5.0
LONGEST_PAUSE_S: Final = 300.0
_WELL_S: Final = 60.0  # one that served for so long did not fail to start
_STOP_S: Final = 5.0
_PASSWORD: Final = "GRIDWATCH_CANARY_PASSWORD"  # noqa: S105  the variable's name
_MODULE: Final = "gridwatch.simulator.canary"
# As the module has them, which is not imported here: what keeps it from loading must not keep this process from running.
_HOST: Final = "127.0.0.1"
_LOGIN_AND_PATH: Final = "canary"


class Burns(Protocol):
    """A scene that can be set on fire."""

    def keep(self) -> bool:
        """Start it again if it ended; tell whether it ran."""
        ...

    def burn(self, for_s: float) -> bool:
        """Let it burn for a while; tell whether it took the order."""
        ...


class CanaryProcess:
    """One test camera. Its port and password stay the same as long as this lives. For one thread.

    Args:
        clock: monotonic time says when one that ended is tried again.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._password = secrets.token_urlsafe(12)
        self._held: socket.socket | None = None  # its port: nobody else gets it while the process is away
        self._process: subprocess.Popen[bytes] | None = None
        self._serves = False
        self._began_mono_s = self._next_mono_s = 0.0
        self._pause_s = 0.0

    @property
    def pid(self) -> int | None:
        """The process's id; None before `start`, after `stop`, and while it is not there."""
        return self._process.pid if self._process else None

    def start(self) -> SecretUrl:
        """Have it started, and return its camera's address at once: `keep` tells whether it serves.

        Raises:
            OSError: no port is free.
        """
        held = self._held = socket.socket()
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the process, too, may bind it then
        held.bind((_HOST, 0))
        self._begin(self._clock.mono_s())
        port = held.getsockname()[1]
        return SecretUrl(f"rtsp://{_LOGIN_AND_PATH}:{self._password}@{_HOST}:{port}/{_LOGIN_AND_PATH}")

    def keep(self) -> bool:
        """Start it again if it ended, at first at once, then after growing pauses; tell whether it serves."""
        if self._held is None:
            return False
        now_mono_s = self._clock.mono_s()
        if self._process is not None:
            if self._lives(self._process, now_mono_s):
                return self._serves
            self._over(self._process, now_mono_s)
        if now_mono_s >= self._next_mono_s:
            self._begin(now_mono_s)
        return False

    def burn(self, for_s: float) -> bool:
        """Let it burn for `for_s` seconds; tell whether it took the order."""
        stdin = self._process.stdin if self._process else None
        if stdin is None or not self._serves:
            return False
        try:
            stdin.write(json.dumps({"burn_s": for_s}).encode() + b"\n")
            stdin.flush()
        except (OSError, ValueError):  # it has ended: `keep` starts it again
            return False
        return True

    def stop(self) -> None:
        """End it."""
        held, self._held = self._held, None
        if held is not None:
            held.close()
        if self._process is not None:
            self._end(self._process)

    def _lives(self, process: subprocess.Popen[bytes], now_mono_s: float) -> bool:
        """Tell whether it runs, and does not load for ever."""
        self._serves = self._serves or _is_ready(process)
        hangs = not self._serves and now_mono_s - self._began_mono_s > READY_WITHIN_S
        return process.poll() is None and not hangs

    def _over(self, process: subprocess.Popen[bytes], now_mono_s: float) -> None:
        if self._serves and now_mono_s - self._began_mono_s > _WELL_S:
            self._pause_s = 0.0
        self._end(process)
        log.warning("test_camera_ended", code=process.returncode, again_in_s=self._pause_s)
        self._put_off(now_mono_s)

    def _begin(self, now_mono_s: float) -> None:
        self._began_mono_s, self._serves = now_mono_s, False
        try:
            self._process = self._spawn()
        except OSError as error:  # no memory, no process left
            problem = error.strerror or type(error).__name__
            log.error("test_camera_not_started", problem=problem, again_in_s=self._pause_s)
            self._put_off(now_mono_s)

    def _put_off(self, now_mono_s: float) -> None:
        """Have the next try wait, and the one after it longer."""
        self._next_mono_s = now_mono_s + self._pause_s
        self._pause_s = min(LONGEST_PAUSE_S, max(FIRST_PAUSE_S, 2 * self._pause_s))

    def _spawn(self) -> subprocess.Popen[bytes]:
        port = 0 if self._held is None else self._held.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", _MODULE, "--port", str(port)],
            stdin=subprocess.PIPE,  # held open: it ends with us, however we end
            stdout=subprocess.PIPE,
            env=os.environ | {_PASSWORD: self._password},
        )
        if process.stdout is not None:
            os.set_blocking(process.stdout.fileno(), False)
        return process

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        self._process = None
        end_process(process, _STOP_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()


def _is_ready(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether it has printed the one line that it prints; does not wait for it."""
    if process.stdout is None:
        return False
    try:
        return bool(os.read(process.stdout.fileno(), 4096))
    except BlockingIOError:
        return False
