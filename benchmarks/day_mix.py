# SPDX-License-Identifier: AGPL-3.0-or-later
"""What is lost by not decoding everything: clips laid into quiet time, watched twice, through the product's own pipeline.

Once as gridwatch does it: key frames, gate, following, groups decoded on suspicion. Once decoding every picture of every
stream, with a look every 0.5 s whatever happens. Same detectors, same network, media time; nothing is late or dropped.
Compared are the incidents, when they are said to have begun, when the alert came, and the CPU.

Each clip with an event that begins after its first second lies between two quiet times (daylike.py): its first picture with
sensor noise. These are shorter than a day is. What a quiet second costs is measured before the clip begins; from there on all
that is watched is the event's; and quiet seconds are added at their own price until they are `--idle-share` of the time. The
last line is one JSON object.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from contest import machine
from day_figures import EVERYTHING, OURS, Cpu, Mixed, Run, Span, result, table
from daylike import DayLike, day_like
from rich.progress import Progress

from detectors.judge import Judge
from events.alerts import AlertFilter
from events.grids import Grids
from events.incidents import IncidentBook
from events.policy import Policy
from events.reading import AlertReader
from events.stores.sql import Store
from gridwatch.app.camera_wiring import CameraWiring
from gridwatch.app.engine import kinds_served, open_network
from gridwatch.app.evaluate import ORIGIN, SOURCE, Truth, load_truth, only
from gridwatch.app.lockstep import drive
from gridwatch.app.pipeline import CameraPipeline
from gridwatch.app.scoring import ClipAlert
from gridwatch.app.settings import IngestSettings, ModelSettings
from gridwatch.core.camera import Camera
from gridwatch.core.clock import Clock, ManualClock
from gridwatch.core.detections import Detections, ObjectClass, Part
from gridwatch.core.frame import Frame
from gridwatch.core.look import Interest
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Zone
from ingest.files import FileSource
from ingest.follow_budget import FollowBudget
from ingest.intake import CameraIntake
from ingest.packets import Packet, PacketSource
from models.network import Network

LATER_THAN_S = 1.0  # what is in the first picture is in the quiet time too
IDLE_S, IDLE_SHARE = 320.0, 0.95  # the gate compares with a background that takes minutes to settle
EVERYTHING_AROUND_S = 40.0  # the longest that a claim of these kinds is held open, and some
MOST_ALERTS = 1000


class Everything(CameraIntake):
    """Decodes every picture and looks twice a second, whatever the detectors and the gate think of it."""

    def __init__(self, camera: Camera, clock: Clock) -> None:
        super().__init__(camera, clock, follow=FollowBudget(1))
        super().follow(Interest.CLAIMED)

    def follow(self, interest: Interest) -> None:  # noqa: ARG002  it is followed in any case
        """Hold the place."""
        super().follow(Interest.CLAIMED)


class TimedNetwork:
    """The network, and the CPU seconds that it took."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self.cpu_s = 0.0

    def prepare(self, source: FileSource, parts: frozenset[Part]) -> None:
        """Make ready for the source's pictures: what a start costs is no part of a day."""
        with source:
            self._network.prepare(source.info.width, source.info.height, parts=parts)

    @property
    def classes(self) -> frozenset[ObjectClass]:
        """The classes of boxes that it tells."""
        return self._network.classes

    def detect(self, frame: Frame, *, parts: frozenset[Part]) -> Detections:
        """Return what is seen in the picture."""
        began_s = time.process_time()
        try:
            return self._network.detect(frame, parts=parts)
        finally:
            self.cpu_s += time.process_time() - began_s


class MarkedSource:
    """A part of a source, and the CPU that was used until the clip began, and from there on."""

    def __init__(self, source: PacketSource, span: Span, network: TimedNetwork) -> None:
        self._source, self._span, self._network = source, span, network
        self._began = self._reached = self._ended = Cpu()

    def __enter__(self) -> Self:
        """Open it."""
        self._source.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self._source.__exit__(kind, error, traceback)

    def packets(self) -> Generator[Packet, None, None]:
        """Yield the packets, from a key frame on."""
        began = reached = False
        for packet in self._source.packets():
            if not began and (packet.at_mono_s < self._span.from_s or not packet.is_key):
                continue
            if packet.at_mono_s >= self._span.to_s:
                break
            if not began:
                self._began, began = self._now(), True
            if not reached and packet.at_mono_s >= self._span.clip_at_s:
                self._reached, reached = self._now(), True
            yield packet
        self._ended = self._now()

    @property
    def before(self) -> Cpu:
        """What was used up to that moment."""
        return self._reached.plus(self._began, -1.0)

    @property
    def after(self) -> Cpu:
        """What was used from there on."""
        return self._ended.plus(self._reached, -1.0)

    def _now(self) -> Cpu:
        return Cpu(time.process_time(), self._network.cpu_s)


class Watch:
    """One camera that is watched through an incident book of its own."""

    def __init__(self, name: str, zone: Zone, network: Network) -> None:
        self._camera = Camera(name, name, SecretUrl(f"file:{name}"), (zone,))
        self._network = TimedNetwork(network)

    def run(self, laid: DayLike, *, everything: bool) -> Run:
        """Watch the file to its end."""
        clock, camera = ManualClock(ORIGIN), self._camera
        with tempfile.TemporaryDirectory() as folder, Store.open(f"sqlite:///{folder}/mix.db") as store:
            book = _book(store, clock, camera)
            pipeline = self._pipeline(clock, everything=everything)
            file = FileSource(camera.camera_id, laid.path, clock)
            self._network.prepare(file, pipeline.judging.parts)
            span = span_of(laid, everything=everything)
            source = MarkedSource(file, span, self._network)
            driven = drive(pipeline, source, clock, book.record)
            alerts = tuple(_alerts(store, camera.name, laid.clip_at_s))
        return Run(alerts, span, source.before, source.after, driven)

    def _pipeline(self, clock: Clock, *, everything: bool) -> CameraPipeline:
        camera, network = self._camera, self._network
        if everything:
            return CameraPipeline(camera, Everything(camera, clock), network, Judge(camera))
        wiring = CameraWiring(IngestSettings(), network, clock)
        return wiring.wire(camera, lambda *_: None).pipeline  # the product's own, with its defaults


def span_of(laid: DayLike, *, everything: bool) -> Span:
    """Return what is watched: all, but of what is decoded whole, which settles at once, less of the quiet time."""
    around_s = EVERYTHING_AROUND_S if everything else laid.length_s
    return Span(
        max(0.0, laid.clip_at_s - around_s),
        laid.clip_at_s,
        min(laid.length_s, laid.clip_at_s + laid.clip_s + around_s),
    )


def _book(store: Store, clock: Clock, camera: Camera) -> IncidentBook:
    policy = Policy(source_id=SOURCE, run_mode="test")
    places = {camera.camera_id: camera}
    return IncidentBook(store, clock, places=places, grids=Grids.none(), evidence=None, policy=policy)


def _alerts(store: Store, name: str, clip_at_s: float) -> Iterator[ClipAlert]:
    def seconds(at: datetime) -> float:
        return round((at - ORIGIN).total_seconds() - clip_at_s, 3)

    for alert in reversed(AlertReader(store).list(AlertFilter(), None, MOST_ALERTS).items):
        ended_s = seconds(alert.ended_at) if alert.ended_at else None
        began_s, opened_s = seconds(alert.began_at), seconds(alert.opened_at)
        yield ClipAlert(name, alert.kind, alert.subtype, began_s, opened_s, ended_s, None)


def mix(media: Path, truth: Truth, idle_s: float, network: Network) -> list[Mixed]:
    """Lay each clip into quiet time and watch it both ways."""
    found = []
    with tempfile.TemporaryDirectory() as folder, Progress() as progress:
        bar = progress.add_task("clips", total=3 * len(truth.clips))
        for clip in truth.clips:
            name = Path(clip.file).stem
            progress.update(bar, description=name)
            share = idle_s / (idle_s + clip.duration_s)
            laid = day_like(media / clip.file, Path(folder) / f"{name}.ts", share)
            progress.advance(bar)
            watch, runs = Watch(name, truth.zone, network), {}
            for run in (OURS, EVERYTHING):
                runs[run] = watch.run(laid, everything=run == EVERYTHING)
                progress.advance(bar)
            laid.path.unlink()
            found.append(Mixed(name, laid.clip_s, clip.events, runs))
    return found


def chosen(truth: Truth, clips: int | None) -> Truth:
    """Return the clips in which something begins after the first second; so many of them, the shortest ones."""
    later = [clip for clip in truth.clips if any(event.onset_s > LATER_THAN_S for event in clip.events)]
    shortest = sorted(later, key=lambda clip: clip.duration_s)[:clips]
    return replace(truth, clips=tuple(clip for clip in later if clip in shortest))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--media", type=Path, required=True, help="folder with the clips")
    parser.add_argument("--truth", type=Path, help="what happened in them (MEDIA/truth.json)")
    parser.add_argument("--clips", type=int, help="so many of them only, the shortest")
    parser.add_argument("--seconds-idle", type=float, default=IDLE_S, help="of quiet time around each clip")
    parser.add_argument("--idle-share", type=float, default=IDLE_SHARE, help="that the costs are weighted to")
    given = parser.parse_args()
    network = open_network(ModelSettings(threads=1))
    print(network.describe(), file=sys.stderr)
    truth, _ = only(
        load_truth(given.truth or given.media / "truth.json"), kinds_served(network.classes, network.parts)
    )
    mixed = mix(given.media, chosen(truth, given.clips), given.seconds_idle, network)
    for line in table(mixed, given.idle_share):
        print(line)
    print(json.dumps(result(mixed, given.idle_share) | {"machine": machine.describe()}))


if __name__ == "__main__":
    main()
