# SPDX-License-Identifier: AGPL-3.0-or-later
"""The test camera's process: started, asked to burn, started again when it ended, and gone with whoever started it."""

import json
import os
import secrets
import select
import subprocess
import sys
from contextlib import suppress
from typing import Final, Protocol

import structlog

from gridwatch.core.errors import InputError
from gridwatch.core.processes import end_process
from gridwatch.core.redact import SecretUrl

log = structlog.get_logger()

READY_WITHIN_S: Final = 60.0  # a busy machine needs seconds to load the scene
_STOP_S: Final = 5.0
_PASSWORD: Final = "GRIDWATCH_CANARY_PASSWORD"  # noqa: S105  the variable's name
_MODULE: Final = "gridwatch.simulator.canary"


class Burns(Protocol):
    """A scene that can be set on fire."""

    def keep(self) -> bool:
        """Start it again if it ended; tell whether it ran."""
        ...

    def burn(self, for_s: float) -> bool:
        """Let it burn for a while; tell whether it took the order."""
        ...


class CanaryProcess:
    """One test camera. Its port and password stay the same as long as this lives. For one thread."""

    def __init__(self) -> None:
        self._password = secrets.token_urlsafe(12)
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process's id; None before `start` and after `stop`."""
        return self._process.pid if self._process else None

    def start(self) -> SecretUrl:
        """Start it, wait until it serves, and return its camera's address.

        Raises:
            InputError: it does not get ready.
        """
        process = self._process = self._spawn(tells=True)
        stdout = process.stdout
        ready = stdout is not None and select.select([stdout], [], [], READY_WITHIN_S)[0]
        line = stdout.readline() if stdout is not None and ready else b""
        if not line:
            self.stop()
            raise InputError("the test camera does not start; its own messages say why")
        told = json.loads(line)
        self._port = int(told["rtsp"])
        return SecretUrl(told["url"])

    def keep(self) -> bool:
        """Start it again if it ended; tell whether it ran."""
        if self._process is None:
            return False
        if self._process.poll() is None:
            return True
        log.warning("test_camera_ended", code=self._process.returncode, restarting=True)
        self._let_go(self._process)
        try:
            self._process = self._spawn(tells=False)
        except OSError as error:  # no memory, no process left: the next call tries again
            log.error("test_camera_not_started", problem=error.strerror or type(error).__name__)
        return False

    def burn(self, for_s: float) -> bool:
        """Let it burn for `for_s` seconds; tell whether it took the order."""
        stdin = self._process.stdin if self._process else None
        if stdin is None:
            return False
        try:
            stdin.write(json.dumps({"burn_s": for_s}).encode() + b"\n")
            stdin.flush()
        except (OSError, ValueError):  # it has ended: `keep` starts it again
            return False
        return True

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is None:
            return
        end_process(process, _STOP_S)
        self._let_go(process)

    def _spawn(self, *, tells: bool) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", _MODULE, "--port", str(self._port)],
            stdin=subprocess.PIPE,  # held open: it ends with us, however we end
            stdout=subprocess.PIPE if tells else subprocess.DEVNULL,
            env=os.environ | {_PASSWORD: self._password},
        )

    @staticmethod
    def _let_go(process: subprocess.Popen[bytes]) -> None:
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                with suppress(OSError):
                    pipe.close()
