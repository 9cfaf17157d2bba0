# SPDX-License-Identifier: AGPL-3.0-or-later
"""kill -9 while a fire burns: of the child, of the embedded queue, of the parent. Nothing lost, doubled or raised twice.

Each round runs the demo's cameras and a case desk, waits for the fire's alert, kills the child with SIGKILL, waits until
the cameras are seen again, kills the queue, then the parent, starts gridwatch again by hand, and compares the journal with
the stream. The last line is one JSON object.
"""

import argparse
import json
import os
import signal
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from gridwatch.app.demo.files import write_configuration
from gridwatch.app.demo.observer import Observer
from gridwatch.app.demo.processes import Process, free_port, together, wait_for_file

SCENES = Path(__file__).resolve().parents[1] / ".venv" / "scenes" / "ultralytics" / "assets"
NEW_CHILD_WITHIN_S, SEEN_AGAIN_WITHIN_S = 5.0, 15.0
GOES_ON_FOR_S = 12.0  # long enough for the detectors to claim the fire anew


@dataclass(slots=True)
class Round:
    """One round's figures; `failures` is empty when it held."""

    seconds: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    journal: int = 0
    stream: int = 0

    def expect(self, what: str, value_s: float | None, bound_s: float) -> None:
        """Note how long something took; a failure when it took longer than the bound, or for ever."""
        self.seconds[what] = round(value_s, 2) if value_s is not None else -1.0
        if value_s is None or value_s > bound_s:
            self.failures.append(f"{what}: {self.seconds[what]} s, bound {bound_s} s")


def wait_until(condition: Callable[[], Any], timeout_s: float) -> float | None:
    """Return the seconds until `condition` held; None if it never did."""
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        if condition():
            return time.monotonic() - began
        time.sleep(0.05)
    return None


def children(pid: int) -> list[str]:
    """Return the processes that a process started."""
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def name_of(pid: str) -> str:
    """Return a process's program name."""
    return Path(f"/proc/{pid}/comm").read_text()


def child_of(pid: int) -> int | None:
    """Return the supervised child: the one that runs with --child."""
    for child in children(pid):
        if "--child" in Path(f"/proc/{child}/cmdline").read_text().split("\0"):
            return int(child)
    return None


def gone(pid: int) -> bool:
    """Tell whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def sees(observer: Observer, cameras: int) -> bool:
    """Tell whether gridwatch says that it sees all cameras."""
    try:
        observer.poll()
    except Exception:  # noqa: BLE001  it is being restarted
        return False
    return bool(observer.coverage.get("seeing") == cameras)


def fires(observer: Observer) -> list[dict[str, Any]]:
    """Return the fire alerts as they are now."""
    observer.poll()
    return [seen.alert for seen in observer.incidents.values() if seen.alert["kind"] == "fire"]


def run_round(folder: Path, seed: int) -> Round:
    """Run one round in an empty folder."""
    result = Round()
    with together() as processes:
        scenes = [
            "gridwatch.simulator.demo",
            "--seed",
            str(seed),
            "--assets",
            str(SCENES),
            "--start-after",
            "6",
        ]
        simulator = Process.start("simulator", scenes, folder, tells=True)
        processes.append(simulator)
        cameras = simulator.first_line(60)["cameras"]
        config = write_configuration(folder, cameras, port=free_port(), threads=os.cpu_count() or 1)
        observer, watcher = start_gridwatch(processes, folder, config, result, "first start")
        state = ["--state", str(folder / "desk.db"), "--step-s", "0.3", "--with-parent"]
        desk = ["gridwatch.app.cli", "case-desk", "--redis", observer.queue_url, *state]
        processes.append(Process.start("case-desk", desk, folder))
        result.expect("fire alert", wait_until(lambda: fires(observer), 60), 60)
        kill_child(watcher, observer, len(cameras), result)
        check_fire_goes_on(observer, result, "child killed")
        kill_queue(watcher, observer, result)
        child = child_of(watcher.popen.pid)
        watcher.popen.kill()
        result.expect("child ends with its parent", wait_until(lambda: child is None or gone(child), 10), 5)
        processes.remove(watcher)
        watcher.stop()
        observer, watcher = start_gridwatch(
            processes, folder, config, result, "start after the parent was killed"
        )
        check_fire_goes_on(observer, result, "parent killed")
        compare(folder, observer.queue_url, result)
    return result


def start_gridwatch(
    processes: list[Process], folder: Path, config: Path, result: Round, name: str
) -> tuple[Observer, Process]:
    """Start gridwatch; note how long it took until all cameras are seen."""
    (folder / "state" / "queue" / "url").unlink(missing_ok=True)
    watcher = Process.start("gridwatch", ["gridwatch.app.cli", "run", "--config", str(config)], folder)
    processes.append(watcher)
    began = time.monotonic()
    url = wait_for_file(folder / "state" / "queue" / "url", watcher, 60)
    port = next(line.split(":")[1].strip() for line in config.read_text().splitlines() if "port:" in line)
    observer = Observer(f"http://127.0.0.1:{port}", url)
    cameras = (folder / "cameras.yaml").read_text().count("- id: '")
    seen = observer.wait_until_seeing(cameras, 60)
    result.expect(f"seen, {name}", time.monotonic() - began if seen else None, SEEN_AGAIN_WITHIN_S)
    return observer, watcher


def kill_child(watcher: Process, observer: Observer, cameras: int, result: Round) -> None:
    """Kill the child and note when another is there, and when the cameras are seen again."""
    first = child_of(watcher.popen.pid)
    assert first is not None
    os.kill(first, signal.SIGKILL)
    killed = time.monotonic()
    took = wait_until(lambda: child_of(watcher.popen.pid) not in (None, first), 30)
    result.expect("new child", took, NEW_CHILD_WITHIN_S)
    seen = wait_until(lambda: sees(observer, cameras), 60)
    result.expect(
        "seen after the child was killed",
        time.monotonic() - killed if seen is not None else None,
        SEEN_AGAIN_WITHIN_S,
    )


def kill_queue(watcher: Process, observer: Observer, result: Round) -> None:
    """Kill the embedded queue and note when another answers."""
    server = next(
        int(pid) for pid in children(watcher.popen.pid) if "valkey" in name_of(pid) or "redis" in name_of(pid)
    )
    os.kill(server, signal.SIGKILL)
    result.expect("new queue", wait_until(lambda: gone(server) and answers(observer.queue_url), 30), 10)


def answers(url: str) -> bool:
    """Tell whether a queue answers."""
    try:
        with redis.Redis.from_url(url) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def check_fire_goes_on(observer: Observer, result: Round, when: str) -> None:
    """The same incident goes on; there is no second one."""
    took = wait_until(
        lambda: [fire["activity"] for fire in fires(observer)] == ["ongoing"], GOES_ON_FOR_S + 20
    )
    result.expect(f"fire ongoing, {when}", took, GOES_ON_FOR_S + 20)
    time.sleep(GOES_ON_FOR_S)
    found = fires(observer)
    if len(found) != 1:
        cameras = [(fire["camera_id"], fire["activity"], fire["opened_at"]) for fire in found]
        result.failures.append(f"{when}: {len(found)} fire incidents, expected the one: {cameras}")


def compare(folder: Path, queue_url: str, result: Round) -> None:
    """Compare what the journal says is due with what an independent reader finds in the stream."""
    with sqlite3.connect(folder / "state" / "gridwatch.db") as database:
        query = "SELECT message_id FROM journal WHERE message_id IS NOT NULL ORDER BY seq"
        due = [row[0] for row in database.execute(query)]
    client = redis.Redis.from_url(queue_url, decode_responses=True)
    wait_until(lambda: client.xlen("gridwatch:cases") >= len(due), 10)
    sent = [fields["id"] for _, fields in client.xrange("gridwatch:cases")]
    client.close()
    result.journal, result.stream = len(due), len(sent)
    if sent[: len(due)] != due or len(set(sent)) != len(sent):
        result.failures.append(f"journal and stream differ: due {due}, sent {sent}")


def main() -> None:
    """Run the rounds and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rounds = []
    for number in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="gridwatch-") as folder:
            rounds.append(run_round(Path(folder), options.seed + number))
        print(f"round {number + 1} of {options.rounds}: {rounds[-1]}", flush=True)
    worst = {name: max(item.seconds.get(name, -1.0) for item in rounds) for name in rounds[0].seconds}
    failures = [failure for item in rounds for failure in item.failures]
    journal, stream = sum(item.journal for item in rounds), sum(item.stream for item in rounds)
    print(
        json.dumps(
            {
                "rounds": len(rounds),
                "journal": journal,
                "stream": stream,
                "worst_s": worst,
                "failures": failures,
            }
        )
    )
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
