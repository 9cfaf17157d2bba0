# SPDX-License-Identifier: AGPL-3.0-or-later
"""Case systems that never see the queue: the case desk and the consumer of docs/integrate, through the real door."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from events.alerts import CaseState, Decision
from events.roles import Role
from gridwatch.core.zone import Kind
from gridwatch.simulator.case_desk import CaseDeskOptions, Step, give_order, run_case_desk

CONSUMER = Path(__file__).resolve().parents[2] / "docs" / "integrate" / "consumer.py"


@pytest.fixture
def token_file(world, tmp_path) -> Path:
    """A file with a token of the role integrator, as an integrator keeps it."""
    file = tmp_path / "token"
    file.write_text(world.token(Role.INTEGRATOR, "case-system") + "\n", encoding="ascii")
    world.clock.advance(2)
    return file


def until(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
    ends = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < ends, "waited too long"
        time.sleep(0.02)


def said(world, alert, field: str) -> list[str]:
    """Return a field of every answer that was recorded on an alert."""
    rows = world.alerts.timeline(alert.id)
    return [row.payload["reply"][field] for row in rows if "reply" in row.payload]


def test_the_desk_takes_a_case_to_its_end(world, server, token_file, tmp_path):
    """Receipt, the whole way after the confirmation, and a word said by hand: all of it arrives on the alert."""
    alert = world.open()
    state = tmp_path / "desk.db"
    options = CaseDeskOptions(
        door_url=server.url, token_file=token_file, state=state, step_s=0.01, accept_exercise=True, quiet=True
    )
    stop = threading.Event()
    desk = threading.Thread(target=run_case_desk, args=(options, stop))
    desk.start()
    try:
        until(lambda: world.alerts.get(alert.id).case is CaseState.REPORTED)
        world.book.decide(alert.id, Decision.CONFIRMED, by="op-07")
        until(lambda: world.alerts.get(alert.id).case is CaseState.CLOSED)
        give_order(state, alert.id, Step(say="reopened", reason="复燃"))
        until(lambda: "cn.gridwatch.case.reopened.v1" in said(world, alert, "type"))
    finally:
        stop.set()
        desk.join(20)
    assert not desk.is_alive()
    ids = said(world, alert, "id")
    assert len(ids) == len(set(ids)) > len(CaseState) - 4


def test_the_consumer_of_the_page_works_through_the_door(world, server, token_file, tmp_path):
    """It answers every message once, and goes on where it was."""
    first, second = world.open(), world.open(Kind.SMOKE)
    command = [
        sys.executable,
        str(CONSUMER),
        "work",
        "--once",
        "--door",
        server.url,
        "--token-file",
        str(token_file),
    ]
    for expected in (2, 3, 3):
        printed = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
        ).stdout
        assert world.alerts.get(first.id).case is world.alerts.get(second.id).case is CaseState.REPORTED
        rows = [row for one in (first, second) for row in world.alerts.timeline(one.id) if row.kind == "case"]
        assert len(rows) == expected, printed
        if expected == 2:
            world.book.decide(second.id, Decision.CONFIRMED, by="op-07")  # an exercise: it opens no case
    assert {row.actor for row in rows} == {"case:urn:case-system:example"}
