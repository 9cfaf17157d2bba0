# SPDX-License-Identifier: AGPL-3.0-or-later
"""The servers that a run breaks: a Redis with an append-only file, a PostgreSQL, and the disk below both."""

import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from events.queues.embedded import EmbeddedServer
from tests.postgres import PostgresServer

DISK_MIB = 2_048  # a bound; what is not written takes no memory
AOF = "appendonlydir"
GONE: Final = "Z"


class Queue:
    """The product's embedded server, with files that outlive it: `always` is its fsync."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._copy = folder, folder.with_name(folder.name + "-older")
        self._server = EmbeddedServer()
        self.url = self._server.start(folder)
        self.copied = False

    @property
    def pid(self) -> int:
        """The server's process."""
        pid = self._server.pid
        assert pid is not None
        return pid

    def alive(self) -> bool:
        """Tell whether the server's process is there."""
        return self._server.pid is not None and state_of(self.pid) != GONE

    def kill(self) -> None:
        """End it with SIGKILL, and wait until it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self._server.stop()

    def stop(self) -> None:
        """End it."""
        self._server.stop()

    def start(self) -> None:
        """Start it on its files."""
        self._server.stop()
        self._server = EmbeddedServer()
        self._server.start(self._folder)

    def copy(self) -> None:
        """Copy the files as they are now; nobody may be writing."""
        shutil.rmtree(self._copy, ignore_errors=True)
        shutil.copytree(self._folder / AOF, self._copy)
        self.copied = True

    def grow_older(self) -> None:
        """Put the copy where the files were; the server must be down."""
        shutil.rmtree(self._folder / AOF)
        shutil.copytree(self._copy, self._folder / AOF)


class Database:
    """A PostgreSQL with files on the disk that fills up; its commits reach them."""

    def __init__(self, folder: Path) -> None:
        self._server = PostgresServer(folder, durable=True).start()
        self.url = self._server.new_database().replace("postgresql:", "postgresql+psycopg:", 1)

    def alive(self) -> bool:
        """Tell whether the server's process is there."""
        return state_of(self._server.pid) != GONE

    def kill(self) -> None:
        """Shut it down at once, without writing anything back: its next start recovers from its log."""
        os.kill(self._server.pid, signal.SIGQUIT)
        while self.alive():
            time.sleep(0.01)

    def start(self) -> None:
        """Start it on its files."""
        self._server.stop()
        self._server.start()

    def stop(self) -> None:
        """End it."""
        self._server.stop()


class Disk:
    """The folder of database and queue: a tmpfs that can be full where we may mount one, else a folder whose writers are limited."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.folder = folder
        mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=755", "tmpfs", str(folder)]
        done = (
            shutil.which("mount") and subprocess.run(mount, check=False, capture_output=True).returncode == 0
        )
        self.kind = "tmpfs" if done else "file size limit"
        self._limited: list[int] = []

    def fill(self, writers: Sequence[int]) -> None:
        """Leave no room. Without a tmpfs of our own the processes `writers` may write no more bytes to files."""
        if self.kind == "tmpfs":
            # As small as it can be; somebody may write meanwhile.
            if not any(self._resize(self._used_kib() + more) for more in (0, 16, 64, 256, 1024)):
                raise OSError(f"{self.folder} cannot be made full")
            return
        self._limited = list(writers)
        for pid in self._limited:
            self._limit(pid, 0)

    def empty(self) -> None:
        """Give room again."""
        if self.kind == "tmpfs":
            self._resize(DISK_MIB * 1024)
        for pid in self._limited:
            self._limit(pid, resource.RLIM_INFINITY)
        self._limited = []

    def close(self) -> None:
        """Give the memory back."""
        if self.kind == "tmpfs":
            subprocess.run(["umount", "-l", str(self.folder)], check=False)

    def _used_kib(self) -> int:
        return shutil.disk_usage(self.folder).used // 1024

    def _resize(self, size_kib: int) -> bool:
        command = ["mount", "-o", f"remount,size={size_kib}k", str(self.folder)]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    @staticmethod
    def _limit(pid: int, size: int) -> None:
        with suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (size if size == 0 else hard, hard))


def state_of(pid: int) -> str:
    """Return a process's state letter (R, S, T for stopped), `GONE` where it has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return GONE
