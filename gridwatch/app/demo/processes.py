# SPDX-License-Identifier: AGPL-3.0-or-later
"""The demo's processes: simulator, gridwatch and case desk, each with its log, each ended with the demo."""

import contextlib
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from gridwatch.core.errors import GridwatchError, InputError
from gridwatch.core.processes import end_process

STOP_TIMEOUT_S = 15.0
SETTLE_S = 0.5  # a process whose output has ended is about to end
WRONG_INPUT = 2


class DemoError(GridwatchError):
    """A process of the demo ended or did not get ready; `log` is the end of what it wrote."""

    def __init__(self, message: str, log: str) -> None:
        self.log = log
        super().__init__(message)


@dataclass(slots=True)
class Process:
    """A child whose standard input we hold open, so that it ends with us; its log goes to a file."""

    name: str
    log: Path
    popen: subprocess.Popen[bytes]

    @classmethod
    def start(cls, name: str, arguments: Sequence[str], folder: Path, *, tells: bool = False) -> Self:
        """Start `python -m …`; with `tells` its standard output is kept for `first_line`, else it goes to the log."""
        log = folder / f"{name}.log"
        command = [sys.executable, "-m", *arguments]
        with log.open("ab") as sink:
            popen = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE if tells else sink, stderr=sink
            )
        return cls(name, log, popen)

    def first_line(self, timeout_s: float) -> dict[str, Any]:
        """Return the JSON object that the process prints when it is ready."""
        assert self.popen.stdout is not None
        ready, _, _ = select.select([self.popen.stdout], [], [], timeout_s)
        line = self.popen.stdout.readline() if ready else b""
        if not line:
            raise self.failure("did not get ready")
        found: dict[str, Any] = json.loads(line)
        return found

    def failure(self, what: str) -> GridwatchError:
        """Return an error with the end of the log; an InputError where the process said that its input is wrong."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        try:
            code = self.popen.wait(SETTLE_S)
        except subprocess.TimeoutExpired:
            code = None
        if code == WRONG_INPUT and lines:
            return InputError(lines[-1])
        return DemoError(f"{self.name} {what} (exit code {code}), see {self.log}", "\n".join(lines[-15:]))

    def stop(self) -> None:
        """Ask it to end; kill it if it does not."""
        end_process(self.popen, STOP_TIMEOUT_S)
        for pipe in (self.popen.stdin, self.popen.stdout):
            if pipe is not None:
                pipe.close()


@contextlib.contextmanager
def together() -> Iterator[list[Process]]:
    """Hold processes; on leaving, however that happens, they are stopped, the last started first."""
    processes: list[Process] = []
    try:
        yield processes
    finally:
        for process in reversed(processes):
            process.stop()


def check_port(port: int) -> None:
    """Raise one clear sentence when a port of 127.0.0.1 is taken.

    Raises:
        InputError: it is.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(
                f"port {port} on 127.0.0.1 is taken; stop what uses it or choose another with --port"
            ) from error


def free_port() -> int:
    """Return a port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_file(path: Path, process: Process, timeout_s: float) -> str:
    """Return the text of a file once it is there and not empty."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if process.popen.poll() is not None:
            raise process.failure("ended")
        if path.exists() and (text := path.read_text(encoding="utf-8").strip()):
            return text
        time.sleep(0.05)
    raise process.failure(f"did not write {path.name}")
