# SPDX-License-Identifier: AGPL-3.0-or-later
"""docs/integrate, taken at its word: the sample messages, the users of the Redis, the script, the options."""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import jsonschema
import pytest
import redis
import yaml

from events.alerts import CaseState
from events.messages import CaseReply
from events.queues.redis_streams import RedisCaseQueue
from events.relay import Relay
from events.replies import ReplyReader
from gridwatch.app.case_desk_command import desk
from gridwatch.simulator.case_desk.plan import RECEIPTS, REWORK, STEPS
from gridwatch.simulator.case_desk.script import load_script
from tests.servers import PROGRAMS, program_of, redis_cli

DOCS = Path(__file__).resolve().parents[2] / "docs"
FOLDER = DOCS / "integrate"
README, CASE_DESK = ((FOLDER / name).read_text("utf-8") for name in ("README.md", "case-desk.md"))
on_sqlite = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)


def consume(folder, url):
    command = [sys.executable, str(FOLDER / "consumer.py"), "work", "--once", "--redis", url]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=True).stdout


def answers(client):
    entries = [fields for _, fields in client.xrange("gridwatch:case-replies")]
    return [
        (fields[b"type"].decode().split(".")[3], json.loads(fields[b"data"]).get("outcome"))
        for fields in entries
    ]


def test_the_sample_messages_are_what_the_page_says(valkey, redis_client, tmp_path):
    """Piped into redis-cli they are three valid entries; a consumer answers them, and again as duplicates."""
    cli = [redis_cli(), "-s", valkey.removeprefix("unix://").partition("?")[0]]
    sample = (FOLDER / "messages.txt").read_bytes()
    for _ in range(2):
        subprocess.run(cli, input=sample, capture_output=True, timeout=30, check=True)
    schemas = {
        name: json.loads((DOCS / "schemas" / f"{name}.json").read_text("utf-8"))
        for name in ("message-entry", "case-message")
    }
    entries = [
        {name.decode(): value.decode() for name, value in fields.items()}
        for _, fields in redis_client.xrange("gridwatch:cases")
    ]
    for fields in entries:
        jsonschema.validate(fields, schemas["message-entry"])
        jsonschema.validate(json.loads(fields["data"]), schemas["case-message"])
    assert [fields["type"].split(".")[3] for fields in entries] == ["opened", "confirmed", "ended"] * 2
    consume(tmp_path, valkey)
    stored = [("reported", "stored")]
    assert answers(redis_client) == [
        *(stored * 2 + [("accepted", None)] + stored),
        *([("reported", "duplicate")] * 3),
    ]


def test_the_sample_answer_is_one():
    """The answer on the page is valid by the schemas, and is read as what it says."""
    (text,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    fields = json.loads(text)
    entry = fields | {"data": json.dumps(fields["data"], ensure_ascii=False)}
    for name, document in (("reply-entry", entry), ("case-reply", fields["data"])):
        jsonschema.validate(document, json.loads((DOCS / "schemas" / f"{name}.json").read_text("utf-8")))
    read = CaseReply.parse(entry)
    assert (read.state, read.data.unit.name, read.data.case_revision) == (CaseState.SIGNED, "消防救援大队", 4)
    assert read.destination == "urn:gridwatch:51011700005020000001"


@pytest.fixture(params=PROGRAMS)
def bare_server(request):
    """A server of each kind with nothing in it, on a socket of its own: its socket, and whether it knows selectors."""
    program = program_of(request.param)
    folder = tempfile.mkdtemp(prefix="gw-")
    socket = f"{folder}/s"
    command = [program, "--port", "0", "--unixsocket", socket, "--dir", folder, "--save", ""]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            ends = time.monotonic() + 20
            while not Path(socket).exists():
                assert time.monotonic() < ends, "the server did not start"
                time.sleep(0.02)
            yield socket, request.param != "redis 6.2"
        finally:
            server.kill()
            server.wait()
            shutil.rmtree(folder, ignore_errors=True)


def users():
    """Return the page's lines for users: case-system with selectors, the same for Redis 6.2, gridwatch."""
    lines = re.findall(r"^ACL SETUSER .*$", README, re.MULTILINE)
    assert [line.split()[2] for line in lines] == ["case-system", "case-system", "gridwatch"]
    return lines


@on_sqlite
def test_the_users_of_the_page_may_do_their_work_and_no_more(bare_server, room, tmp_path):
    """Both sides work with the users that the page makes, on every server; neither may read what is not theirs."""
    socket, selectors = bare_server
    modern, old, ours = users()
    with redis.Redis(unix_socket_path=socket, protocol=2) as owner:
        for line in (modern if selectors else old, ours):
            subprocess.run([redis_cli(), "-s", socket], input=line.encode(), capture_output=True, check=True)
        assert sorted(owner.acl_users()) == ["case-system", "default", "gridwatch"]
        owner.set("another:system", "secret")
        our_client = redis.Redis.from_url(f"unix://gridwatch:change-me-too@{socket}")
        room.opened()
        queue = RedisCaseQueue(our_client)
        assert Relay(room.reader, queue, room.clock).step() == 1
        consume(tmp_path, f"unix://case-system:change-me@{socket}")
        taken = ReplyReader(room.book, queue, 0.01)
        assert (taken.step(), taken.taken) == (1, {"recorded": 1})
        queue.trim(1)
        theirs = redis.Redis.from_url(f"unix://case-system:change-me@{socket}", protocol=2)
        for forbidden in (
            lambda: theirs.get("another:system"),
            lambda: theirs.delete("gridwatch:cases"),
            lambda: theirs.hget("gridwatch:cases:marks", "x"),
            lambda: our_client.get("another:system"),
            theirs.flushall,
            our_client.flushall,
        ):
            with pytest.raises(redis.exceptions.NoPermissionError):
                forbidden()
        if selectors:
            with pytest.raises(redis.exceptions.NoPermissionError):
                theirs.xadd("gridwatch:cases", {"type": "forged"})
        theirs.close()
        our_client.close()


def test_the_script_on_the_page_is_one(tmp_path):
    """It loads, and every rule in it is told apart."""
    (text,) = re.findall(r"```yaml\n(.*?)```", CASE_DESK, re.DOTALL)
    file = tmp_path / "script.yaml"
    file.write_text(text, encoding="utf-8")
    assert len(load_script(file).rules) == len(yaml.safe_load(text)["cases"]) == 5


def test_every_word_and_every_option_stands_on_the_page():
    """What a desk can be told, and how it is started, is described."""
    words = {*STEPS, *RECEIPTS, REWORK, "confirmed", "dismissed"}
    assert [word for word in sorted(words) if f"`{word}" not in CASE_DESK] == []
    commands = [desk.registered_callback, *desk.registered_commands]
    options = {
        f"--{name.replace('_', '-')}"
        for command in commands
        for name in command.callback.__annotations__
        if name not in {"context", "return", "which", "word"}
    }
    assert len(options) > 15
    assert [option for option in sorted(options) if option not in CASE_DESK] == []


def test_the_numbers_of_the_rules_stand_in_both_consumers():
    """Each rule of the page is pointed at where a consumer keeps it."""
    rules = re.findall(r"^(\d)\. \*\*", README, re.MULTILINE)
    assert rules == [str(number) for number in range(1, 9)]
    for name in ("consumer.py", "consumer.sh"):
        text = (FOLDER / name).read_text("utf-8")
        pointed = set(re.findall(r"(?:# |\()(\d)[.)]", text))
        assert set(rules) - pointed == set(), name


def test_the_shell_consumer_is_sound():
    """Bash reads it whole, and it may be started as it is."""
    file = FOLDER / "consumer.sh"
    assert os.access(file, os.X_OK)
    subprocess.run(["bash", "-n", str(file)], check=True, capture_output=True)
