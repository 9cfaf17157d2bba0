# SPDX-License-Identifier: AGPL-3.0-or-later
"""kill -9 of the child, of the queue and of the parent while a fire burns: one round of the benchmark."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "survival.py"


@pytest.mark.timeout(400)
def test_nothing_is_lost_doubled_or_raised_twice_when_processes_are_killed():
    """The same incident goes on, seen again in time, and journal and stream agree."""
    ended = subprocess.run(
        [sys.executable, str(BENCHMARK), "--rounds", "1", "--seed", "5"],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = ended.stdout.splitlines()
    assert lines, f"the benchmark ended with {ended.returncode} and printed nothing:\n{ended.stderr}"
    assert lines[-1].startswith("{"), f"the benchmark printed no result:\n{ended.stdout}{ended.stderr}"
    result = json.loads(lines[-1])
    assert result["failures"] == [], ended.stdout + ended.stderr
    assert result["journal"] == result["stream"] > 0
