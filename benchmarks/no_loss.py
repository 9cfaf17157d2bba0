# SPDX-License-Identifier: AGPL-3.0-or-later
"""Nothing lost, nothing doubled, nothing out of order: processes and servers fail in every round, and files are counted.

A writer (findings, decisions), a relay, a reply reader and a case system run as processes of their own over a real
queue and a real database. Each round does some work while one of them is killed (-9) or stopped at a point of
(record, relay, reply, feedback), or the queue is killed, restarted, stopped or comes back older, or the disk is full.
At the end `no_loss/recount.py` compares journal, stream and what the case system acted on. The last line is one JSON
object; `--keep DIR` leaves the files. SQLite by default.
"""

import argparse
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from no_loss.faults import What
from no_loss.looking import save
from no_loss.recount import Kept, recount
from no_loss.rounds import Run, UnsettledError

from gridwatch.app.bars import progress_bars

PRELOADED = ["no_loss.parts", "no_loss.desk", "psycopg", "sqlalchemy.dialects.postgresql", "alembic.command"]


def must_have(rounds: int) -> dict[int, What]:
    """Return the rounds whose fault is not drawn: each run has an older queue and a full disk, whatever the seed."""
    return {rounds // 2: What.REDIS_OLDER, rounds * 3 // 4: What.DISK_FULL} if rounds > 2 else {}  # noqa: PLR2004


def run(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], bool]:
    """Run all rounds; return the figures, and whether nothing was wrong."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    began = time.monotonic()
    with Run(folder, context, options.database, options.seed) as whole:
        done, stalled = _rounds(whole, options)
        seconds = time.monotonic() - began
        kept = whole.onlooker.keep(sorted(whole.figures.acknowledged))
        broken = whole.onlooker.broken_rows()
    if options.keep:
        save(kept, options.keep)
        kept = Kept.load(options.keep)  # what is counted is what was kept
    found = recount(kept)
    figures = {
        "benchmark": "no_loss",
        "rounds": done,
        **asdict(found),
        "broken_rows": broken,
        "stalled": stalled,
    }
    figures |= {"seed": options.seed, "database": options.database, "full_disk": whole.disk.kind}
    figures |= {name: len(rows) for name, rows in asdict(kept).items()}
    figures |= {
        "messages": sum(row["message_id"] is not None for row in kept.journal),
        "others": whole.figures.others,
        "faults": dict(sorted(whole.figures.faults.items())),
        "points_not_crossed": whole.figures.not_hit,
        "seconds": round(seconds, 1),
        "slowest_round_s": round(whole.figures.slowest_s, 2),
    }
    return figures, found.clean and not broken and not stalled


def _rounds(whole: Run, options: argparse.Namespace) -> tuple[int, str]:
    """Run the rounds; return how many, and in words what has not arrived where one did not settle."""
    done, wanted = 0, must_have(options.rounds)
    try:
        whole.begin()
        with progress_bars() as bars:
            for number in bars.track(range(1, options.rounds + 1), description=options.database):
                fault = whole.round(number, wanted.get(number))
                done = number
                if options.verbose:
                    print(number, fault, flush=True)
    except UnsettledError as problem:
        return done, f"round {done + 1}: {problem}"
    return done, ""


def main() -> None:
    """Run the rounds and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--keep", type=Path, help="folder for the files of a recount")
    parser.add_argument("--verbose", action="store_true", help="name each round's fault")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers and the disk are cleared away
    here = str(Path(__file__).resolve().parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory(prefix="gridwatch-") as folder:
        figures, held = run(options, Path(folder))
    print(json.dumps(figures, ensure_ascii=False))
    sys.exit(0 if held else 1)


if __name__ == "__main__":
    main()
