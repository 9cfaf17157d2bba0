# SPDX-License-Identifier: AGPL-3.0-or-later
"""The desk behind gridwatch's HTTP door, against a small door of the test: pages, tokens, another journal, faults."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from gridwatch.core.errors import InputError
from gridwatch.simulator.case_desk import list_cases, run_case_desk

TOKEN = "gw_example"


class Door(ThreadingHTTPServer):
    """Serves `entries` with their numbers, keeps what is posted. `status` answers everything else than what was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answers)
        self.entries, self.posted, self.asked = [], [], []
        self.epoch, self.status, self.body = "e1", 0, None
        self.changed = threading.Condition()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, *entries):
        with self.changed:
            self.entries += entries
            self.changed.notify_all()

    def words(self):
        return [fields["type"].split(".")[3] for fields in self.posted]


class Answers(BaseHTTPRequestHandler):
    def do_GET(self):
        door, query = self.server, parse_qs(urlsplit(self.path).query)
        door.asked.append({name: values[0] for name, values in query.items()})
        if self._refused():
            return
        after, limit = int(query["after"][0]), int(query["limit"][0])
        with door.changed:
            door.changed.wait_for(lambda: len(door.entries) > after, min(1, float(query["wait_s"][0])))
            items, epoch = door.entries[after : after + limit], door.epoch
        if (
            query.get("epoch", [epoch])[0] != epoch
        ):  # asked after the wait: the journal may have changed in it
            self._answer(409, {"title": "foreign journal"})
            return
        self._answer(200, {"items": items, "next": after + len(items), "epoch": epoch})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self._refused():
            self.server.posted += body
            self._answer(200, {"items": [{"id": one["id"], "outcome": "recorded"} for one in body]})

    def _refused(self):
        if self.server.status:
            self._answer(self.server.status, self.server.body or {"detail": "not today"})
        elif self.headers["Authorization"] != f"Bearer {TOKEN}":
            self._answer(401, {"title": "who are you"})
        else:
            return False
        return True

    def _answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def door():
    """A door that is open."""
    with Door() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def behind(door, options, tmp_path):
    """Options of a desk behind that door."""
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n", encoding="ascii")

    def make(**changes):
        settings = {"redis_url": "", "door_url": door.url, "token_file": file} | changes
        return options(**settings)

    return make


def test_a_case_goes_the_whole_way_over_http(door, queue, behind):
    """The same messages get the same answers as over Redis, and each page is asked for once."""
    with queue.running(behind()):
        door.add(queue.entry(), queue.confirmation())
        queue.until(lambda: door.words()[-1:] == ["closed"])
    assert door.words()[:3] == ["reported", "reported", "accepted"]
    assert len(door.posted) == 10
    assert door.asked[0]["after"] == "0"
    assert "epoch" not in door.asked[0]
    assert door.asked[-1] | {"wait_s": ""} == {"after": "2", "epoch": "e1", "limit": "50", "wait_s": ""}


def test_a_desk_that_comes_back_goes_on_where_it_was(door, queue, behind):
    """How far it has read stands in its file: nothing is answered twice, and more than one page is no obstacle."""
    door.add(*(queue.entry(f"i{number}") for number in range(120)))
    with queue.running(behind()):
        queue.until(lambda: len(door.posted) == 120)
    with queue.running(behind()):
        door.add(queue.entry("last"))
        queue.until(lambda: len(door.posted) == 121)
    assert {json.loads(fields["data"])["outcome"] for fields in door.posted} == {"stored"}


def test_another_journal_is_read_from_its_beginning(door, queue, behind):
    """Where the door says that its journal is another, everything is read again; what is known is a duplicate."""
    with queue.running(behind()):
        door.add(queue.entry(), queue.entry("i2"))
        queue.until(lambda: len(door.posted) == 2)
        door.epoch = "e2"
        door.add(queue.entry("i3"))
        queue.until(lambda: len(door.posted) == 5)
    outcomes = [json.loads(fields["data"])["outcome"] for fields in door.posted]
    assert outcomes == ["stored", "stored", "duplicate", "duplicate", "stored"]


@contextmanager
def failing(door, status, body=None):
    door.status, door.body = status, body
    yield
    door.status = 0


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, None, "the token is missing, wrong, expired or revoked"),
        (403, None, "it needs the role integrator"),
        (404, None, "no door at this address"),
        (503, None, "not today"),
        (200, {"hello": 1}, "no door of gridwatch"),
    ],
)
def test_a_door_that_refuses_is_told_and_tried_again(door, queue, behind, capsys, status, body, words):
    """What is wrong stands in one line, without the token; when the door opens everything is answered."""
    door.add(queue.entry(), queue.confirmation())
    told = []

    def was_told():
        told.append(capsys.readouterr().out)
        return words in "".join(told)

    with queue.running(behind(quiet=False)):
        with failing(door, status, body):
            queue.until(was_told)
        queue.until(lambda: door.words()[-1:] == ["closed"])
    assert TOKEN not in "".join(told)


def test_steps_go_on_while_the_door_is_shut(door, queue, behind):
    """An accepted case goes on in its own time; its answers wait and come in their order."""
    settings = behind(step_s=0.3)
    with queue.running(settings):
        door.add(queue.entry(), queue.confirmation())
        queue.until(lambda: "accepted" in door.words())
        with failing(door, 503):
            queue.until(lambda: list_cases(settings.state)[0].state == "closed", 30)
            assert "closed" not in door.words()
        queue.until(lambda: door.words()[-1:] == ["closed"])
    numbers = [json.loads(fields["data"])["case_revision"] for fields in door.posted]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == 10


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"redis_url": "redis://127.0.0.1"}, "in one way"),
        ({"door_url": ""}, "in one way"),
        ({"door_url": "ftp://x"}, "http:// or https://"),
    ],
)
def test_a_connection_that_cannot_be_is_one_clear_sentence(behind, changes, reason):
    """Both ways, none, or a URL of something else are wrong input."""
    with pytest.raises(InputError, match=reason):
        run_case_desk(behind(**changes), threading.Event())


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff"])
def test_a_file_without_a_token_is_named(behind, tmp_path, content):
    """The token stands alone in its file; anything else is wrong input, and its content is not shown."""
    file = tmp_path / "other"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"other: .*token"):
        run_case_desk(behind(token_file=file), threading.Event())
