# SPDX-License-Identifier: AGPL-3.0-or-later
"""Clips through the real pipeline, in lockstep on media time, scored against what happened in them."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from detectors.judge import Judge
from events.alerts import Alert, AlertFilter
from events.grids import Grids
from events.incidents import IncidentBook
from events.policy import Policy
from events.reading import AlertReader
from events.stores.sql import Store
from gridwatch.app.lockstep import Driven, drive
from gridwatch.app.people import Detect
from gridwatch.app.pipeline import CameraPipeline
from gridwatch.app.scoring import ClipAlert, ClipScore, TrueEvent, score_clip, summarise
from gridwatch.core.camera import Camera
from gridwatch.core.clock import ManualClock
from gridwatch.core.errors import InputError
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import CrowdLimit, Kind, TrafficLimit, Zone
from ingest.errors import SourceError
from ingest.files import FileSource
from ingest.follow_budget import FollowBudget
from ingest.intake import CameraIntake

ORIGIN = datetime(2026, 1, 1, tzinfo=UTC)  # media time zero; any fixed instant serves
MOST_ALERTS = 1000
SOURCE = "0" * 20  # nothing leaves an evaluation


@dataclass(frozen=True, slots=True)
class TruthClip:
    """One clip of a truth file."""

    file: str
    duration_s: float
    events: tuple[TrueEvent, ...]


@dataclass(frozen=True, slots=True)
class Truth:
    """A truth file: its clips, and the zone that `about.settings` asks for instead of the product's defaults."""

    clips: tuple[TruthClip, ...]
    zone: Zone


@dataclass(frozen=True, slots=True)
class Cost:
    """What the evaluation took."""

    looks: int
    media_s: float
    cpu_s: float
    packets: int
    decoded: int
    unknown: int


@dataclass(frozen=True, slots=True)
class Ran:
    """The network that was scored: its name, the SHA-256 of its weights, and what computed it (back end, precision)."""

    name: str
    sha256: str
    device: str


def load_truth(file: Path) -> Truth:
    """Read a truth file.

    Raises:
        InputError: it cannot be read or lacks a field.
    """
    try:
        data = json.loads(file.read_text(encoding="utf-8"))
        settings = data.get("about", {}).get("settings", {})
        return Truth(tuple(_truth_clip(clip) for clip in data["clips"]), _zone(settings))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=file) from error
    except json.JSONDecodeError as error:
        raise InputError(f"is not JSON: {error.msg}", file=file, line=error.lineno) from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"is not a truth file: {error!r}", file=file) from error


def _truth_clip(clip: Mapping[str, Any]) -> TruthClip:
    events = tuple(
        TrueEvent(
            Kind(event["kind"]),
            event.get("subtype", ""),
            event["onset_s"],
            event["end_s"],
            event["alert_expected"],
            event.get("onset_tolerance_s", 0.5),
        )
        for event in clip.get("events", ())
    )
    return TruthClip(clip["file"], clip["duration_s"], events)


def _zone(settings: Mapping[str, Any]) -> Zone:
    """Return one zone over the whole picture for all kinds, with the limits of the settings over the defaults."""
    zone = Zone("picture", frozenset(Kind), purpose="evaluation")
    crowd, traffic = settings.get("crowd", {}), settings.get("traffic", {})
    return replace(
        zone,
        crowd=CrowdLimit(crowd.get("limit", zone.crowd.limit), crowd.get("dwell_s", zone.crowd.dwell_s)),
        traffic=TrafficLimit(traffic.get("stopped_dwell_s", zone.traffic.stopped_dwell_s)),
    )


def only(truth: Truth, served: frozenset[Kind]) -> tuple[Truth, frozenset[Kind]]:
    """Leave out the kinds that a network cannot serve: they are neither looked for nor missed.

    Returns:
        The rest, and the kinds that were left out.

    Raises:
        InputError: nothing is left.
    """
    left_out = truth.zone.kinds - served
    if left_out == truth.zone.kinds:
        raise InputError("the network tells nothing that gridwatch raises an alert for")
    clips = tuple(
        replace(clip, events=tuple(event for event in clip.events if event.kind in served))
        for clip in truth.clips
    )
    return replace(truth, clips=clips, zone=replace(truth.zone, kinds=truth.zone.kinds & served)), left_out


def evaluate(
    folder: Path, truth: Truth, network: Detect, *, progress: Callable[[str], None] = lambda _: None
) -> tuple[list[ClipScore], list[ClipAlert], Cost]:
    """Run every clip of the truth file through the pipeline and score it."""
    scores: list[ClipScore] = []
    alerts: list[ClipAlert] = []
    took = Driven()
    cpu_s = time.process_time()
    for clip in truth.clips:
        progress(clip.file)
        run = _Run(folder / clip.file, truth.zone, network)
        found = list(run.alerts())
        scores.append(score_clip(clip.file, clip.duration_s, clip.events, found))
        alerts += found
        took = took.plus(run.took)
    media_s = sum(clip.duration_s for clip in truth.clips)
    cpu_s = time.process_time() - cpu_s
    return scores, alerts, Cost(took.looks, media_s, cpu_s, took.packets, took.decoded, took.unknown)


class _Run:
    """One clip through one camera's pipeline into an incident book of its own."""

    def __init__(self, file: Path, zone: Zone, network: Detect) -> None:
        if not file.is_file():
            raise InputError("the truth file names this clip, but it is not there", file=file)
        self._file = file
        self._camera = Camera(file.name, file.stem, SecretUrl(f"file:{file.name}"), (zone,))
        self._network = network
        self.took = Driven()

    def alerts(self) -> Iterator[ClipAlert]:
        clock = ManualClock(ORIGIN)
        camera = self._camera
        with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/evaluate.db") as store:
            places = {camera.camera_id: camera}
            book = IncidentBook(
                store,
                clock,
                places=places,
                grids=Grids.none(),
                evidence=None,
                policy=Policy(source_id=SOURCE, run_mode="test"),
            )
            pipeline = CameraPipeline(
                camera, CameraIntake(camera, clock, follow=FollowBudget(1)), self._network, Judge(camera)
            )
            source = FileSource(camera.camera_id, self._file, clock)
            try:
                self.took = drive(pipeline, source, clock, book.record)
            except SourceError as error:
                raise InputError(f"cannot be read: {error}", file=self._file) from error
            page = AlertReader(store).list(AlertFilter(), None, MOST_ALERTS)
            yield from (self._clip_alert(alert) for alert in reversed(page.items))

    def _clip_alert(self, alert: Alert) -> ClipAlert:
        def seconds(at: datetime) -> float:
            return round((at - ORIGIN).total_seconds(), 3)

        first = alert.boxes[0] if alert.boxes else None
        box = (first.x0, first.y0, first.x1, first.y1) if first else None
        ended = seconds(alert.ended_at) if alert.ended_at else None
        return ClipAlert(
            self._file.name,
            alert.kind,
            alert.subtype,
            seconds(alert.began_at),
            seconds(alert.opened_at),
            ended,
            box,
        )


def report(
    scores: Sequence[ClipScore],
    alerts: Sequence[ClipAlert],
    cost: Cost,
    ran: Ran,
    left_out: frozenset[Kind] = frozenset(),
) -> dict[str, Any]:
    """Return the JSON of `evaluate --json`. Kinds that were left out have no scores."""
    hours = cost.media_s / 3600
    return {
        "network": asdict(ran),
        "kinds": {kind: row for kind, row in summarise(scores).items() if kind not in left_out},
        "kinds_left_out": sorted(left_out),
        "alerts": [
            {
                "file": alert.file,
                "kind": alert.kind.value,
                "subtype": alert.subtype,
                "began_s": alert.began_s,
                "opened_s": alert.opened_s,
                "ended_s": alert.ended_s,
                "box": alert.box,
            }
            for alert in alerts
        ],
        "cost": {
            "looks": cost.looks,
            "looks_unknown": cost.unknown,
            "looks_per_s": round(cost.looks / cost.media_s, 3),
            "decoded_share": round(cost.decoded / max(cost.packets, 1), 4),
            "cpu_s_per_camera_hour": round(cost.cpu_s / hours, 1),
        },
    }


def table(scores: Sequence[ClipScore]) -> str:
    """Return found, missed and false alarms per clip as a Markdown table; no clip is left out."""
    lines = ["| clip | found (opened at) | missed | excused | false alarms |", "|---|---|---|---|---|"]
    for score in scores:
        found = ", ".join(f"{_name(event)} ({alert.opened_s:.1f} s)" for event, alert in score.found)
        missed = ", ".join(_name(event) for event in score.missed)
        excused, false = (
            ", ".join(f"{alert.kind}/{alert.subtype} ({alert.opened_s:.1f} s)" for alert in group)
            for group in (score.excused, score.false)
        )
        lines.append(f"| {score.file} | {found} | {missed} | {excused} | {false} |")
    return "\n".join(lines)


def _name(event: TrueEvent) -> str:
    return f"{event.kind}/{event.subtype}" if event.kind is Kind.TRAFFIC else event.kind.value
