# SPDX-License-Identifier: AGPL-3.0-or-later
"""The embedded server: one per folder, found again after its parent was killed, ended with its parent, durable."""

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from events.errors import QueueError
from events.queues import embedded
from events.queues.embedded import EmbeddedServer


@pytest.fixture
def server(tmp_path):
    made = EmbeddedServer()
    yield made
    made.stop()


def test_it_serves_on_a_private_socket_without_a_port(server, tmp_path):
    """The URL is a unix socket in a folder of this user alone, and every write is synced."""
    url = server.start(tmp_path / "queue")
    path = Path(url.removeprefix("unix://"))
    assert len(os.fsencode(path)) < 108
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    with redis.Redis.from_url(url, decode_responses=True) as client:
        assert client.ping()
        wanted = {"port": "0", "appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}
        assert {name: client.config_get(name)[name] for name in wanted} == wanted
    assert server.alive()
    server.stop()
    assert not server.alive()


def test_a_second_start_finds_the_first(server, tmp_path):
    """Two starts on one folder share one server; the second one's stop leaves it running."""
    url = server.start(tmp_path / "queue")
    second = EmbeddedServer()
    assert second.start(tmp_path / "queue") == url
    assert second.pid is None
    second.stop()
    assert server.alive()


def test_what_was_written_survives_a_kill(server, tmp_path):
    """After SIGKILL the next start has every acknowledged entry."""
    with redis.Redis.from_url(server.start(tmp_path / "queue")) as client:
        written = [client.xadd("s", {"n": str(number)}) for number in range(20)]
    os.kill(server.pid, signal.SIGKILL)
    server.stop()
    with redis.Redis.from_url(server.start(tmp_path / "queue")) as client:
        assert [entry_id for entry_id, _ in client.xrange("s")] == written


PARENT = """
import sys, time
from pathlib import Path
from events.queues.embedded import EmbeddedServer
server = EmbeddedServer()
print(server.start(Path(sys.argv[1])), server.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ending with the parent is a service of Linux")
def test_it_ends_with_its_parent_and_starts_again(tmp_path):
    """Kill -9 of the parent ends the server; a start right after that gets one that stays."""
    folder = tmp_path / "queue"
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(folder)], stdout=subprocess.PIPE, text=True
    ) as parent:
        url, pid = parent.stdout.readline().split()
        with redis.Redis.from_url(url) as client:
            client.set("kept", "1")
        parent.kill()
        parent.wait()
        again = EmbeddedServer()
        assert again.start(folder) == url
        assert again.pid not in (None, int(pid))
        with redis.Redis.from_url(url) as client:
            assert client.get("kept") == b"1"
        again.stop()
        assert ended(int(pid))


def ended(pid):
    """A process that nobody waited for stays listed as a zombie; it has ended all the same."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_two_starts_at_once_make_one_server(tmp_path):
    """Processes that start at the same moment agree on one server."""
    folder = tmp_path / "queue"
    parents = [
        subprocess.Popen([sys.executable, "-c", PARENT, str(folder)], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    lines = [parent.stdout.readline().split() for parent in parents]
    assert len({url for url, _ in lines}) == 1
    assert sorted(pid == "None" for _, pid in lines) == [False, True, True]
    for parent in parents:
        parent.kill()
        parent.wait()
        parent.stdout.close()


def test_a_long_folder_gets_a_short_socket(server, tmp_path):
    """The socket does not lie in the state folder, whose path may be too long for one."""
    folder = tmp_path / ("long" * 30) / "queue"
    url = server.start(folder)
    assert len(url) < 115
    assert (folder / "appendonlydir").is_dir() or (folder / "appendonly.aof").exists()


def test_a_server_on_path_comes_first(monkeypatch, tmp_path):
    """An installed server is taken before the one in the wheel; without any the sentence says what to do."""
    program = tmp_path / "valkey-server"
    program.write_text("#!/bin/sh\nexit 3\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert embedded._program() == program
    with pytest.raises(QueueError, match="status 3"):
        EmbeddedServer().start(tmp_path / "queue")
    monkeypatch.setenv("PATH", "")
    assert embedded._program().name == "valkey-server"
    monkeypatch.setattr(embedded, "find_spec", lambda _name: None)
    with pytest.raises(QueueError, match="install one"):
        EmbeddedServer().start(tmp_path / "queue2")


def test_a_holder_that_does_not_answer_is_named(server, tmp_path, monkeypatch):
    """When the lock is held and nobody answers, starting gives up with the folder's name."""
    server.start(tmp_path / "queue")
    os.kill(server.pid, signal.SIGSTOP)
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.5)
    monkeypatch.setattr(embedded, "PING_TIMEOUT_S", 0.1)
    with pytest.raises(QueueError, match="queue"):
        EmbeddedServer().start(tmp_path / "queue")
    os.kill(server.pid, signal.SIGCONT)


def test_a_foreign_runtime_folder_is_refused(monkeypatch, tmp_path):
    """A runtime folder that others may enter is not used."""
    (tmp_path / f"gridwatch-{os.getuid()}").mkdir(mode=0o755)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(embedded, "SOCKET_PATH_MAX_BYTES", 1000)
    with pytest.raises(QueueError, match="700"):
        EmbeddedServer().start(tmp_path / "queue")


def test_stopping_is_quick(server, tmp_path, monkeypatch):
    """The server ends when it is told to: nothing waits for the time after which it would be killed."""
    monkeypatch.setattr(embedded, "STOP_TIMEOUT_S", 40.0)
    began = time.monotonic()
    server.start(tmp_path / "queue")
    server.stop()
    assert time.monotonic() - began < 20
