# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch evaluate`: progress on the way, a table at the end, JSON on request."""

import json
from pathlib import Path

from rich.console import Console

from gridwatch.app.bars import progress_bars
from gridwatch.app.engine import kinds_served, open_network
from gridwatch.app.evaluate import Ran, evaluate, load_truth, only, report, table
from gridwatch.app.settings import ModelSettings, load_settings


def evaluate_command(folder: Path, truth_file: Path, json_out: Path | None, config: Path | None) -> None:
    """Score the clips of `truth_file`, print what became of each, and write the JSON if asked."""
    whole = load_truth(truth_file)
    network = open_network(load_settings(config)[0].models if config else ModelSettings())
    truth, left_out = only(whole, kinds_served(network.classes, network.parts))
    console = Console()
    _say(console, network.describe())
    if left_out:
        _say(console, f"left out, because the network does not tell them: {', '.join(sorted(left_out))}")
    with progress_bars() as progress:
        task = progress.add_task("clips", total=len(truth.clips))

        def advance(file: str) -> None:
            progress.update(task, description=file)
            progress.advance(task)

        scores, alerts, cost = evaluate(folder, truth, network, progress=advance)
    ran = Ran(network.name, network.sha256, network.device)
    result = report(scores, alerts, cost, ran, left_out)
    console.print(table(scores), markup=False, soft_wrap=True)
    for kind, row in result["kinds"].items():
        _say(
            console,
            f"{kind}: found {row['found']} of {row['events']}, {row['false_alarms']} false in {row['camera_hours']} camera-hours",
        )
    _say(console, f"looks: {cost.looks}, {cost.unknown} of them without an answer")
    if json_out:
        json_out.parent.mkdir(parents=True, exist_ok=True)
        json_out.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, soft_wrap=True)
