# SPDX-License-Identifier: AGPL-3.0-or-later
"""What a camera costs to watch while nothing happens: this project beside what a user could pick instead, on the same live streams.

A simulator of our own serves generated 1080p25 footage (GOP 2 s, 4 Mbit/s, sensor noise) over RTSP from a process of its
own, whose CPU is counted apart. Contestants take turns, each a process of its own: OpenCV's reader in a thread per camera,
Ultralytics' `LoadStreams(vid_stride=5)`, a PyAV loop per camera that decodes key frames only, and this project: streams,
rings, shared decoders, gate, proof of sight, recorder and ticker, with a network that answers at once (looks excluded).
Six cameras at a time, because more are too many for who decodes everything; 40 for the loop over key frames and this project.
Then as many cameras as hold on this machine, and openings and closings without end. The last line is one JSON object.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import reconnects
from contest import machine
from footage import Footage, quiet_clip
from rich.progress import Progress

from gridwatch.app.supervisor import ALLOCATION

HERE = Path(__file__).resolve().parent
CAMERAS, MANY = 6, 150
MORE = 40  # of those who decode little: with six cameras most of what is measured is what a process takes by itself
GOP_S, CLIP_S = 2.0, 60.0
SETTLE_S = 8.0  # connections stand and decoders are warm
LEARNT_S = 40.0  # and this project knows what its cameras look like
OPEN_WITHIN_S = 60.0
ROUNDS = 3
OURS = "gridwatch"
DECODING, KEY_ONLY = ("opencv", "loadstreams"), "keyonly"
THEIRS = (*DECODING, KEY_ONLY)
BESIDE = ("followed-main", "followed-sub", "traffic")
ASKED = {"vs_opencv": 12.0, "vs_loadstreams": 12.0, "vs_keyonly": 1.4}
IN_TIME, BYTES_EACH = 0.99, 1_500_000
MIB = 1 << 20
STEP, MOST = 25, 400  # cameras
SHORT_S = (
    300.0  # a run that is asked to be shorter takes one turn each and does not look for the highest number
)


class Simulator:
    """Cameras that show a clip, each at another moment of it; a process of its own."""

    def __init__(self, clip: Path, cameras: int, *more: str) -> None:
        command = [
            sys.executable,
            "-m",
            "gridwatch.app.cli",
            "simulate",
            str(clip),
            "--cameras",
            str(cameras),
        ]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [*command, "--port", "0", "--with-parent", *more], stdin=pipe, stdout=pipe
        )
        assert self._process.stdout is not None
        ready = json.loads(self._process.stdout.readline())
        self.urls = [camera["url"] for camera in ready["cameras"]]

    def cpu_s(self) -> float:
        """Return the CPU seconds that it has used."""
        return process_cpu_s(self._process.pid)

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=20)


def process_cpu_s(pid: int) -> float:
    """Return a process's CPU seconds, user and system (proc(5), fields 14 and 15 of stat)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


@dataclass(slots=True)
class Turn:
    """What one contestant took while it was measured.

    Attributes:
        cpu_s: CPU seconds of its process over `wall_s`.
        pictures: handed out.
        more: what else it says of itself, before and after.
    """

    cpu_s: float
    wall_s: float
    pictures: int
    rss_bytes: int
    more: tuple[dict[str, Any], dict[str, Any]]

    def percent_each(self, cameras: int) -> float:
        """Return percent of a core per camera."""
        return 100 * self.cpu_s / self.wall_s / cameras


class Contestant:
    """One contestant's process."""

    def __init__(self, name: str, urls: Sequence[str]) -> None:
        command = [sys.executable, str(HERE / "readers" / "child.py"), name, *urls]
        pipe = subprocess.PIPE
        # `gridwatch run` starts its child like this; the others as their users would
        environment = {**os.environ, **(ALLOCATION if name not in THEIRS else {})}
        self._process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        self.name, self._cameras = name, len(urls)

    def ask(self) -> dict[str, Any]:
        """Return what it has used so far."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended by itself")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def open(self) -> None:
        """Wait until every camera has given a picture, and a while longer."""
        until = time.monotonic() + OPEN_WITHIN_S
        while not all(self.ask()["counts"]):
            if time.monotonic() > until:
                raise SystemExit(
                    f"{self.name}: {self.ask()['counts'].count(0)} of {self._cameras} cameras gave no picture"
                )
            time.sleep(0.5)
        time.sleep(SETTLE_S if self.name in THEIRS else LEARNT_S)

    def measure(self, seconds: float) -> Turn:
        """Return what it uses in so many seconds."""
        before = self.ask()
        time.sleep(seconds)
        after = self.ask()
        pictures = sum(after["counts"]) - sum(before["counts"])
        wall_s = after["at_s"] - before["at_s"]
        more = before["more"], after["more"]
        return Turn(after["cpu_s"] - before["cpu_s"], wall_s, pictures, after["rss_bytes"], more)

    def close(self) -> None:
        """End it; threads of other people's libraries do not always."""
        try:
            self._process.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()


@dataclass(slots=True)
class Match:
    """Turns of all contestants on the same cameras."""

    cameras: int
    turns: dict[str, list[Turn]] = field(default_factory=dict)

    def play(self, simulator: Simulator, names: Sequence[str], rounds: int, seconds: float) -> None:
        """Let each read the same cameras for so long, in turns."""
        with Progress() as progress:
            bar = progress.add_task("contestants", total=rounds * len(names))
            for _ in range(rounds):
                for name in names:
                    contestant = Contestant(name, simulator.urls[: self.cameras])
                    try:
                        contestant.open()
                        self.turns.setdefault(name, []).append(contestant.measure(seconds))
                    finally:
                        contestant.close()
                    progress.advance(bar)

    def percent(self, name: str) -> float:
        """Return percent of a core per camera, the median of its turns."""
        return statistics.median(turn.percent_each(self.cameras) for turn in self.turns[name])

    def ratio(self, name: str) -> float:
        """Return how many times as much one takes as this project: the median over turns side by side."""
        pairs = zip(self.turns[name], self.turns[OURS], strict=True)
        return statistics.median(
            theirs.cpu_s / theirs.wall_s / (ours.cpu_s / ours.wall_s) for theirs, ours in pairs
        )


@dataclass(frozen=True, slots=True)
class Held:
    """How many cameras at once went.

    Attributes:
        in_time: share of key frames that went through the gate before the camera's next one.
        waiting: key frames that waited to be decoded, at the end.
        core, simulator_core: cores used.
        rss_mib, bound_mib: memory at the end, and what it may be: before the first camera, the rings' bounds, 1.5 MB each.
        beside_rings_mib_each: what it is beyond that before the first camera and what the rings hold, a camera.
    """

    cameras: int
    in_time: float
    waiting: int
    core: float
    simulator_core: float
    rss_mib: float
    bound_mib: float
    beside_rings_mib_each: float

    @property
    def holds(self) -> bool:
        """Whether all that was asked is so."""
        return (
            self.in_time >= IN_TIME and self.rss_mib <= self.bound_mib and self.waiting <= self.cameras / 10
        )


def hold(clip: Path, cameras: int, seconds: float) -> Held:
    """Watch so many cameras for so long."""
    simulator = Simulator(clip, cameras)
    contestant = Contestant(OURS, simulator.urls)
    try:
        contestant.open()
        began_s, simulated_s = time.monotonic(), simulator.cpu_s()
        turn = contestant.measure(seconds)
        simulated_s = (simulator.cpu_s() - simulated_s) / (time.monotonic() - began_s)
    finally:
        contestant.close()
        simulator.close()
    before, after = turn.more
    decoded = after["decoded"] - before["decoded"]
    lost = after["late"] - before["late"] + after["damaged"] - before["damaged"]
    return Held(
        cameras=cameras,
        in_time=round(decoded / max(1, decoded + lost), 4),
        waiting=after["waiting"],
        core=round(turn.cpu_s / turn.wall_s, 3),
        simulator_core=round(simulated_s, 3),
        rss_mib=round(turn.rss_bytes / MIB, 1),
        bound_mib=round((after["base_bytes"] + after["ring_bound_bytes"] + BYTES_EACH * cameras) / MIB, 1),
        beside_rings_mib_each=round(
            (turn.rss_bytes - after["base_bytes"] - after["ring_bytes"]) / MIB / cameras, 2
        ),
    )


def most_that_hold(clip: Path, seconds: float, first: Held) -> list[Held]:
    """Try more cameras while they hold, and fewer where they do not; return every try."""
    tries, cameras = [first], first.cameras
    step = STEP
    while 0 < cameras + step <= MOST and tries[-1].holds == first.holds:
        cameras += step if first.holds else -step
        if cameras <= 0:
            break
        tries.append(hold(clip, cameras, seconds))
        print(tries[-1], file=sys.stderr)
    return tries


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=600.0,
        help="of the run with many cameras; the others follow (a short run: 60)",
    )
    parser.add_argument("--cameras", type=int, default=MANY, help="in the run with many")
    parser.add_argument(
        "--many-only",
        action="store_true",
        help="neither contestants nor reconnects; no search for more cameras",
    )
    parser.add_argument(
        "--reconnects", type=int, default=None, help="openings and closings (1,000, fewer in a short run)"
    )
    given = parser.parse_args()
    short = given.seconds < SHORT_S
    turn_s = 10.0 if short else 30.0
    with tempfile.TemporaryDirectory() as folder:
        clip = quiet_clip(Path(folder) / "street.mp4", Footage(seconds=CLIP_S if not short else 20.0))
        if given.many_only:
            report((), [hold(clip, given.cameras, given.seconds)], {})
            return
        rounds = 1 if short else ROUNDS
        with closing(Simulator(clip, CAMERAS, "--sub")) as simulator:
            match, beside = Match(CAMERAS), Match(CAMERAS)
            match.play(simulator, (OURS, *DECODING), rounds, turn_s)
            beside.play(simulator, BESIDE, 1, turn_s)
        with closing(Simulator(clip, MORE)) as simulator:
            more = Match(MORE)
            more.play(simulator, (OURS, KEY_ONLY), rounds, turn_s)
        first = hold(clip, given.cameras, given.seconds)
        tries = [first] if short else most_that_hold(clip, 60.0, first)
        slope = reconnects.measure(clip, given.reconnects or (200 if short else 1000))
    report((match, beside, more), tries, slope)


def report(matches: Sequence[Match], tries: Sequence[Held], slope: dict[str, Any]) -> None:
    """Print a table for people and one JSON object."""
    each = {
        f"{name} of {match.cameras}": round(match.percent(name), 3)
        for match in matches
        for name in match.turns
    }
    for name, percent in each.items():
        print(f"{name:20} {percent:7.2f} % of a core per camera")
    for one in tries:
        print(one)
    held = [one for one in tries if one.holds]
    line = {
        **{
            f"vs_{name}": round(match.ratio(name), 2)
            for match in matches
            for name in match.turns
            if name in THEIRS
        },
        "cameras": max((one.cameras for one in held), default=0),
        "coverage": tries[0].in_time,
        "rss_slope_bytes_per_reconnect": slope.get("rss_slope_bytes_per_reconnect"),
        "percent_of_core_each": each,
        "asked": ASKED,
        "many": [
            {**{name: getattr(one, name) for name in Held.__slots__}, "holds": one.holds} for one in tries
        ],
        "reconnects": slope,
        "machine": machine.describe(),
    }
    print(json.dumps(line))


if __name__ == "__main__":
    main()
