# SPDX-License-Identifier: AGPL-3.0-or-later
"""A PostgreSQL server of our own for tests and benchmarks: on a unix socket in its own folder, gone with whoever started it.

It sorts text as Chinese readers do (ICU), not by bytes: what depends on the order of bytes shows. PostgreSQL refuses to run
as root, so root starts it as `nobody`.
"""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

import psycopg

START_TIMEOUT_S, STOP_TIMEOUT_S, POLL_S = 60.0, 20.0, 0.05
USER = "gridwatch"
NEEDED = "GRIDWATCH_NEED_SERVERS"  # set where a missing server is a failure, not a skip: in .ci/run


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's newest programs, or None where it is not installed."""
    installed = sorted(
        Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda file: float(file.parts[4])
    )
    found = installed[-1] if installed else shutil.which("initdb")
    return Path(found).resolve().parent if found else None


class PostgresServer:
    """One server with any number of databases.

    Args:
        folder: where its data stays; None takes a new one under the system's temporary folder and removes it.
        durable: commits reach the disk, as in production; tests that lose no power do without.
    """

    def __init__(self, folder: Path | None = None, *, durable: bool = False) -> None:
        self._keep = folder is not None
        self._folder, self._durable = folder, durable
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)

    def start(self) -> Self:
        """Make the data if there is none, start, and wait until it answers."""
        programs = binaries()
        if programs is None:
            raise FileNotFoundError("PostgreSQL is not installed")
        folder = self._folder = self._folder or Path(tempfile.mkdtemp(prefix="gridwatch-pg-"))
        folder.mkdir(parents=True, exist_ok=True)
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        if not (folder / "data").exists():
            self._run(programs / "initdb", *_new_cluster(folder), timeout=START_TIMEOUT_S)
        command = [str(programs / "postgres"), *self._flags(folder)]
        with (folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                _bound_to_us(command), stdout=log, stderr=log, cwd=folder, **_whom()
            )
        self._wait()
        return self

    @property
    def pid(self) -> int:
        """The server's first process."""
        assert self._process is not None
        return self._process.pid

    def url(self, database: str) -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql://{USER}@/{database}?host={self._folder}"

    def new_database(self, like: str = "template1") -> str:
        """Make a database as a copy of another one, to which nobody is connected, and return its URL."""
        name = f"gw{os.getpid()}_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {like} STRATEGY FILE_COPY")
        return self.url(name)

    def drop(self, url: str) -> None:
        """Remove a database, whoever is connected."""
        self.execute(f"DROP DATABASE IF EXISTS {self.name_of(url)} WITH (FORCE)")

    @staticmethod
    def name_of(url: str) -> str:
        """Return the database that a URL of ours names."""
        return url.partition("@/")[2].partition("?")[0]

    def execute(self, statement: str) -> None:
        """Run one statement as the server's owner, outside a transaction."""
        with psycopg.connect(
            host=str(self._folder), user=USER, dbname="postgres", autocommit=True
        ) as connection:
            connection.execute(statement)

    def stop(self) -> None:
        """Stop at once, and remove the data unless the folder was given."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(2)  # a fast shutdown
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._folder is not None and not self._keep:
            shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def _flags(self, folder: Path) -> list[str]:
        flags = ["-D", str(folder / "data"), "-k", str(folder), "-c", "listen_addresses="]
        if not self._durable:
            for name in ("fsync", "full_page_writes"):
                flags += ["-c", f"{name}=off"]
        return flags

    def _run(self, program: Path, *arguments: str, timeout: float) -> None:
        done = subprocess.run(
            [str(program), *arguments], capture_output=True, timeout=timeout, check=False, cwd="/", **_whom()
        )
        if done.returncode:
            raise RuntimeError(f"{program.name} failed: {done.stderr.decode('utf-8', 'replace')[-2000:]}")

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.execute("SELECT 1")
                return
            except psycopg.OperationalError as error:
                assert self._process is not None
                if self._process.poll() is not None or time.monotonic() > deadline:
                    log = (Path(str(self._folder)) / "server.log").read_text("utf-8", "replace")
                    raise RuntimeError(f"PostgreSQL did not start: {error}\n{log[-2000:]}") from error
                time.sleep(POLL_S)


def _new_cluster(folder: Path) -> list[str]:
    order = ["--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=zh-Hans-CN", "--encoding=UTF8"]
    return ["-D", str(folder / "data"), "-U", USER, "--auth=trust", "--no-sync", *order]


def _whom() -> dict[str, object]:
    """Return as whom the programs run: root lends them to `nobody`."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _bound_to_us(command: list[str]) -> list[str]:
    """Return a command that ends (SIGINT: fast shutdown) with the thread that starts it."""
    return ["setpriv", "--pdeathsig", "INT", "--", *command] if shutil.which("setpriv") else command
