# SPDX-License-Identifier: AGPL-3.0-or-later
"""The benchmark of taking turns, for a short while: its own book finds every promise kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_a_short_run_keeps_every_bound():
    """Two hours of 200 cameras over six connections, a tenth of them lost: no promise broken, none restated too late."""
    command = [sys.executable, "-P", "benchmarks/attention.py", "--cameras", "200", "--connections", "6"]
    done = subprocess.run(
        [*command, "--days", "0.1"],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["bounds_kept"], result["bounds_broken"], result["restated_too_late"]) == (1.0, 0, 0)
    assert result["visits"] > 2000
    assert result["visits_failed"] > 50
    assert result["connections_most"] == 6
    assert result["cpu_us_per_visit"] > 0
