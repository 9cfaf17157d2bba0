# SPDX-License-Identifier: AGPL-3.0-or-later
"""Users, passwords and TLS on the queue's URL: what is documented is enough, and each failure says what it is."""

import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis

from events.errors import QueueError
from events.queues.embedded import EmbeddedServer
from events.queues.port import Mark, Outcome
from events.queues.redis_streams import RedisCaseQueue
from gridwatch.core.errors import InputError
from tests.events.queue_kit import SOURCE, message
from tests.servers import PROGRAMS, missing, program_of

README = Path(__file__).parents[2] / "docs" / "integrate" / "README.md"
SECRET = "s3cret-of-ours"


@pytest.fixture(scope="module", params=PROGRAMS)
def guarded(request, tmp_path_factory):
    """The socket of a server that asks for a password, and the hands of its administrator."""
    server = EmbeddedServer(fsync="everysec", program=program_of(request.param))
    url = server.start(tmp_path_factory.mktemp("guarded"))
    with redis.Redis.from_url(url, single_connection_client=True, decode_responses=True) as admin:
        admin.execute_command("ACL", "SETUSER", "default", "resetpass", ">of-the-administrator")
        yield url.removeprefix("unix://"), admin
    server.stop()


def allow(admin, *rules):
    admin.execute_command("ACL", "SETUSER", "gridwatch", "reset", "on", f">{SECRET}", *rules)


def documented_rules(user, place=0):
    """Return what the page for integrators tells an administrator to give a user, without state and password."""
    lines = README.read_text(encoding="utf-8").splitlines()
    line = [one for one in lines if one.startswith(f"ACL SETUSER {user} ")][place]
    # A selector stands in brackets and is one rule, blanks included.
    rules = re.findall(r"\([^)]*\)|\S+", line)[3:]
    return [rule for rule in rules if rule not in ("on", "reset") and not rule.startswith(">")]


def queue_of(path, user="gridwatch", password=SECRET):
    login = f"{user}:{password}@" if password else ""
    return RedisCaseQueue.connect(f"unix://{login}{path}")


def test_the_documented_rights_are_enough(guarded):
    """Every call works for a user who has what the page says and nothing more."""
    path, admin = guarded
    admin.flushall()
    allow(admin, *documented_rules("gridwatch"))
    queue = queue_of(path)
    assert queue.append_many([message(1), message(2)], Mark("e1", 0)).outcome is Outcome.APPENDED
    assert queue.mark(SOURCE) == queue.newest_of(SOURCE) == Mark("e1", 2)
    assert queue.length() == 2
    queue.restore_mark(SOURCE, Mark("e1", 9))
    assert queue.take_over(SOURCE, Mark("e1", 2), Mark("e2", 2))
    admin.xadd("gridwatch:case-replies", {"id": "1"})
    (entry,) = queue.read_replies(5, 0.01)
    assert len(queue.read_replies(5, 0, pending=True)) == 1
    queue.claim_stale(0, 5)
    queue.ack([entry.entry_id])
    admin.xgroup_create("gridwatch:cases", "desk", id="$")
    assert queue.trim(1).removed == 1
    queue.close()


def test_the_case_systems_documented_rights_are_enough(guarded):
    """It reads messages with a group, acknowledges, and answers; where the server can tell, it adds no messages."""
    path, admin = guarded
    admin.flushall()
    admin.xadd("gridwatch:cases", {"id": "inc:1"})
    old = admin.info("server")["redis_version"].startswith("6.")
    rules = documented_rules("case-system", 1 if old else 0)
    admin.execute_command("ACL", "SETUSER", "case-system", "reset", "on", f">{SECRET}", *rules)
    with redis.Redis.from_url(f"unix://case-system:{SECRET}@{path}") as client:
        client.xgroup_create("gridwatch:cases", "desk", id="0")
        ((_, [(entry_id, _)]),) = client.xreadgroup("desk", "one", {"gridwatch:cases": ">"})
        assert client.xack("gridwatch:cases", "desk", entry_id) == 1
        client.xautoclaim("gridwatch:cases", "desk", "one", min_idle_time=0)
        assert client.xadd("gridwatch:case-replies", {"id": "1"})
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.hset("gridwatch:cases:marks", SOURCE, "e9:9")
        if not old:
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.xadd("gridwatch:cases", {"id": "forged"})


@pytest.mark.parametrize(
    ("rules", "user", "password", "words"),
    [
        ((), "", "", "NOAUTH"),
        ((), "gridwatch", "wrong-one", "WRONGPASS"),
        (("~gridwatch:*", "+@all", "-xadd"), "gridwatch", SECRET, "NOPERM"),
        (("~gridwatch:*", "+@all", "-hset"), "gridwatch", SECRET, "NOPERM"),
        (("~gridwatch:*", "+@all", "-evalsha"), "gridwatch", SECRET, "NOPERM"),
        (("~other:*", "+@all"), "gridwatch", SECRET, "NOPERM"),
    ],
)
def test_each_refusal_says_what_it_is(guarded, rules, user, password, words):
    """No password, a wrong one, a missing right: named with the place and what to do, and without the secret."""
    path, admin = guarded
    admin.flushall()
    allow(admin, *rules)
    queue = queue_of(path, user, password)
    with pytest.raises(QueueError, match=words) as raised:
        queue.append_many([message(1)], Mark("e1", 0))
    assert path in str(raised.value)
    assert SECRET not in str(raised.value)
    assert "wrong-one" not in str(raised.value)
    assert admin.exists("gridwatch:cases:marks") == 0
    queue.close()


def test_a_message_is_not_doubled_while_its_mark_may_not_be_written(guarded):
    """A user that lost the right to move marks appends nothing, however often it is tried; with the right it goes on."""
    path, admin = guarded
    admin.flushall()
    rules = documented_rules("gridwatch")
    allow(admin, *rules)
    queue = queue_of(path)
    queue.append_many([message(1)], Mark("e1", 0))
    allow(admin, *rules, "-hset")
    for _ in range(3):
        with pytest.raises(QueueError, match="NOPERM"):
            queue.append_many([message(2), message(3)], Mark("e1", 1))
    assert admin.xlen("gridwatch:cases") == 1
    allow(admin, *rules)
    assert queue.append_many([message(2), message(3)], Mark("e1", 1)).outcome is Outcome.APPENDED
    assert admin.xlen("gridwatch:cases") == 3
    queue.close()


@pytest.mark.parametrize("url", ["http://h/", "redis://h:port/0", "redis://h/?nonsense=1"])
def test_a_url_that_cannot_be_read_is_an_input_error(url):
    """It is said at the start, and not as a queue that does not answer."""
    with pytest.raises(InputError, match="URL"):
        RedisCaseQueue.connect(url)


class Certificates:
    """An authority and what it signed, in a folder."""

    def __init__(self, folder):
        self.folder = folder
        self._run("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=authority")
        for name, alternative in (
            ("server", "IP:127.0.0.1"),
            ("stranger", "DNS:elsewhere.example"),
            ("client", ""),
        ):
            self._run(f"req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}")
            (folder / "extra").write_text(f"subjectAltName={alternative}\n" if alternative else "\n")
            self._run(
                f"x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile extra -out {name}.pem"
            )

    def _run(self, arguments):
        subprocess.run(["openssl", *arguments.split()], cwd=self.folder, check=True, capture_output=True)

    def __getitem__(self, name):
        return self.folder / name


class TlsServers:
    """Redis servers with TLS on a port of their own, ended with the test session's module."""

    def __init__(self, program, files):
        self._program, self.files, self._running = program, files, []

    def start(self, *more, certificate="server"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        asked = [self._program, "--port", "0", "--bind", "127.0.0.1", "--tls-port", str(port), "--save", ""]
        asked += ["--tls-cert-file", f"{certificate}.pem", "--tls-key-file", f"{certificate}.key"]
        asked += ["--tls-ca-cert-file", "ca.pem", *more]
        process = subprocess.Popen(asked, cwd=self.files.folder, stdout=subprocess.DEVNULL)
        self._running.append(process)
        for _ in range(1000):
            assert process.poll() is None, "the server with TLS ended"
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return port
            time.sleep(0.01)
        raise AssertionError("the server with TLS did not start")

    def close(self):
        for process in self._running:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def tls(tmp_path_factory):
    """Servers with TLS and their certificates."""
    if shutil.which("openssl") is None:
        missing("openssl is not installed here")
    program = str(program_of("redis 7"))
    servers = TlsServers(program, Certificates(tmp_path_factory.mktemp("tls")))
    yield servers
    servers.close()


@pytest.fixture(scope="module")
def secured(tls):
    """The port of a server that asks for no certificate."""
    return tls.start("--tls-auth-clients", "no", "--requirepass", SECRET)


def refusal(url):
    with pytest.raises(QueueError) as raised:
        RedisCaseQueue.connect(url).append_many([message(1)], Mark("e1", 0))
    assert SECRET not in str(raised.value)
    return str(raised.value)


def test_messages_go_over_tls(tls, secured):
    """With the authority named in the URL, the certificate is checked and the messages arrive."""
    queue = RedisCaseQueue.connect(
        f"rediss://:{SECRET}@127.0.0.1:{secured}/0?ssl_ca_certs={tls.files['ca.pem']}"
    )
    assert queue.append_many([message(1)], Mark("e1", 0)).outcome is Outcome.APPENDED
    assert queue.mark(SOURCE) == Mark("e1", 1)
    queue.close()


def test_what_is_wrong_with_tls_is_said(tls, secured):
    """An unknown authority, a name that is not the certificate's, no TLS on one of the sides, no certificate of ours."""
    authority = f"?ssl_ca_certs={tls.files['ca.pem']}"
    login = f":{SECRET}@"
    assert "ssl_ca_certs" in refusal(f"rediss://{login}127.0.0.1:{secured}/0")
    assert "not speak TLS" in refusal(f"rediss://{login}127.0.0.1:{plain_port(tls)}/0{authority}")
    assert "rediss://" in refusal(f"redis://{login}127.0.0.1:{secured}/0")
    stranger = tls.start("--tls-auth-clients", "no", certificate="stranger")
    assert "another" in refusal(f"rediss://127.0.0.1:{stranger}/0{authority}")
    strict = tls.start("--tls-auth-clients", "yes")
    assert "ssl_certfile" in refusal(f"rediss://127.0.0.1:{strict}/0{authority}")
    own = f"&ssl_certfile={tls.files['client.pem']}&ssl_keyfile={tls.files['client.key']}"
    queue = RedisCaseQueue.connect(f"rediss://127.0.0.1:{strict}/0{authority}{own}")
    assert queue.append_many([message(1)], Mark("e1", 0)).outcome is Outcome.APPENDED
    queue.close()


def plain_port(tls):
    """The port of a server without TLS."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tls.start("--port", str(port))
    return port
