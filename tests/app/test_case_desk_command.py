# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch case-desk` on the command line: options reach the desk, `say` and `list` reach its state file."""

import json

import pytest
from typer.testing import CliRunner

from gridwatch.app.cli import app
from gridwatch.core.errors import InputError
from gridwatch.simulator.case_desk.book import CaseBook, Rules
from gridwatch.simulator.case_desk.store import CaseStore
from gridwatch.simulator.case_desk.wire import parse_message


def call(*arguments):
    return CliRunner().invoke(app, ["case-desk", *arguments], catch_exceptions=False)


@pytest.fixture
def state(tmp_path):
    """The state file of a desk to which one incident came."""
    file = tmp_path / "desk.db"
    data = {
        "incident_id": "i1",
        "revision": 1,
        "run_mode": "actual",
        "decision": "pending",
        "title": "疑似烟雾",
    }
    fields = {"id": "i1:1", "source": "urn:gridwatch:1", "type": "cn.gridwatch.incident.opened.v1"}
    fields |= {"subject": "i1", "previous": "0", "data": json.dumps(data)}
    with CaseStore(file) as store:
        rules = Rules(source="urn:x", step_s=1, gap_wait_s=1, accept_exercise=False)
        entry = parse_message({name.encode(): value.encode() for name, value in fields.items()})
        CaseBook(store, rules, lambda: 1_800_000_000.0, lambda _line: None).receive(entry)
    return file


def test_an_order_and_the_list(state):
    """`say` names the case that it speaks of, with every detail in the order; `list` shows it."""
    details = ["--unit", "供电公司", "--role", "assist", "--reason", "断电", "--hold-s", "3", "--twice"]
    said = call("say", "last", "dispatched", "--state", str(state), *details)
    assert said.exit_code == 0
    case = said.output.partition(":")[0]
    shown = call("list", "--state", str(state))
    assert case in shown.output
    assert "疑似烟雾" in shown.output
    with CaseStore(state) as store, store.transaction():
        ((_, step),) = store.take_orders()
    assert step.document() == {
        "say": "dispatched",
        "unit": "供电公司",
        "role": "assist",
        "reason": "断电",
        "hold_s": 3.0,
        "twice": True,
    }


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "connected in one way"),
        (["--redis", "redis://x", "--door", "http://x"], "connected in one way"),
        (["--redis", "redis://x", "--script", "nowhere.yaml"], "nowhere.yaml: cannot be read"),
        (["--door", "http://x", "--token-file", "nowhere"], "nowhere: cannot be read as a token"),
        (["--redis", "redis://x", "--step-s", "100000"], "step_s"),
    ],
)
def test_a_desk_that_cannot_start_says_why(tmp_path, monkeypatch, arguments, reason):
    """Wrong options are wrong input: one clear sentence."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("GRIDWATCH_CASE_DESK_REDIS", raising=False)
    with pytest.raises(InputError, match=reason):
        call(*arguments)


def test_the_url_may_stand_in_the_environment(tmp_path, monkeypatch):
    """A password need not be on the command line."""
    monkeypatch.setenv("GRIDWATCH_CASE_DESK_REDIS", "http://no-redis")
    with pytest.raises(InputError, match="must begin with redis://"):
        call("--state", str(tmp_path / "desk.db"))
