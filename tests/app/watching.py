# SPDX-License-Identifier: AGPL-3.0-or-later
"""A street of simulated cameras, and a machine that watches them: real streams, real decoding, a real store.

Only the network is one that answers at once: it sees a fire where a camera's picture is marked, as long as it is told to.
"""

import asyncio
import contextlib
import json
import socket
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from events.alerts import AlertFilter
from events.evidence import EvidenceStore
from events.grids import Grids
from events.incidents import IncidentBook, Policy
from events.reading import AlertReader
from events.stores.sql import Store
from gridwatch.app.camera_wiring import CameraWiring
from gridwatch.app.live import Shard
from gridwatch.app.settings import IngestSettings
from gridwatch.app.shard_spec import ShardSpec
from gridwatch.app.taking_turns import TakingTurns
from gridwatch.core.camera import Camera
from gridwatch.core.clock import SystemClock
from gridwatch.core.detections import Detections, ObjectClass, Part
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone
from gridwatch.simulator.city import City, CityCamera, running_city
from gridwatch.simulator.clips import ClipFeed
from gridwatch.simulator.shelf import ClipShelf
from models.service.device import Device
from models.service.inference import InferenceService, ServiceSettings

FIRE_AT = (0.4, 0.4, 0.6, 0.7)
ALL = Zone("all", frozenset({Kind.FIRE}))


def until(condition, within_s=20.0):
    """Wait until a condition holds; fail when it does not in time."""
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, f"not within {within_s} s"
        time.sleep(0.02)


def clip(path: Path, *, marked=False, size=(320, 180), seconds=4, gop=5, bright=0) -> Path:
    """Encode a still street with sensor noise, 10 pictures a second; a marked one has a mark in its corner, and flickers."""
    rng = np.random.default_rng(5)
    width, height = size
    street = rng.integers(60, 140, (9, 16), np.uint8).repeat(height // 9, 0).repeat(width // 16, 1)
    x1, y1, x2, y2 = (round(at * side) for at, side in zip(FIRE_AT, (*size, *size), strict=True))
    with av.open(path, "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(10))
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, "yuv420p", gop
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "sc_threshold": "0", "threads": "1"}
        for _ in range(seconds * 10):
            luma = np.clip(street + bright + rng.normal(0, 1.5, street.shape), 0, 255).astype(np.uint8)
            if marked:
                luma[: height // 6, : width // 6] = 235
                luma[y1:y2, x1:x2] = rng.integers(60, 250, (y2 - y1, x2 - x1), np.uint8)
            picture = av.VideoFrame.from_ndarray(np.repeat(luma[..., None], 3, axis=2), "rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    return path


class Street:
    """Cameras of the simulator in a thread of their own; each has its second stream at PATH/sub where it is asked for."""

    def __init__(self, clips: dict[str, Path], *, sub=()) -> None:
        shelf = ClipShelf()
        self._cameras = [CityCamera(path, ClipFeed(file, shelf=shelf)) for path, file in clips.items()]
        self._cameras += [
            CityCamera(f"{path}/sub", ClipFeed(clips[path], shelf=shelf, sub_width=640)) for path in sub
        ]
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(),))
        self._ready = threading.Event()

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(20)
        return self

    def __exit__(self, *_):
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with running_city(City(self._cameras), SystemClock()) as ports:
            self.port, self._control = ports.rtsp, ports.control
            self._ready.set()
            await self._stop.wait()

    def url(self, path: str) -> SecretUrl:
        return SecretUrl(f"rtsp://127.0.0.1:{self.port}/{path}")

    def camera(self, path: str, **values) -> Camera:
        return Camera(path, path, self.url(path), (ALL,), **values)

    def fault(self, name: str, camera: str, *, on=True, **values) -> None:
        """Switch a fault, as a person would."""
        self._ask({"ask": "fault", "camera": camera, "fault": name, "on": on, **values})

    def viewers(self) -> dict[str, int]:
        """Return how many are connected to each camera now."""
        return {one["path"]: one["viewers"] for one in self._ask({"ask": "timeline"})["cameras"]}

    def _ask(self, asked):
        with socket.create_connection(("127.0.0.1", self._control), 10) as control:
            control.sendall(json.dumps(asked).encode() + b"\n")
            answer = json.loads(control.makefile().readline())
        assert "error" not in answer, answer
        return answer


class Watchful:
    """A network that answers at once: a fire in each marked picture while `burning`; else nothing.

    Attributes:
        sizes: of the pictures in which it looked for fire, width and height.
        hold: looks wait for it.
    """

    sha256, name, batch, plan = "0" * 64, "watchful", 1, None
    parts = frozenset({Part.FIRE, Part.PEOPLE})
    classes = tuple(ObjectClass)

    def __init__(self) -> None:
        self.burning, self.sizes, self.hold = False, set(), threading.Event()
        self.hold.set()
        self.inside = 0

    def input_size(self, _width, _height):
        return 640, 384

    def detect(self, frame, *, parts):
        self.inside += 1
        self.hold.wait(30)
        self.inside -= 1
        if Part.FIRE not in parts:
            return Detections.none()
        self.sizes.add((frame.width, frame.height))
        corner = frame.luma()[: frame.height // 8, : frame.width // 8]
        if not self.burning or corner.mean() < 200:
            return Detections.none()
        return Detections(
            np.array([FIRE_AT], np.float32), np.array([0.9], np.float32), np.array([ObjectClass.FIRE]),
            np.array([np.nan], np.float32),
        )  # fmt: skip


class LateClock(SystemClock):
    """The machine's clock, set forward by hand."""

    late_s = 0.0

    def mono_s(self):
        return super().mono_s() + self.late_s


class Machine:
    """What `gridwatch run` has of a shard: store, book, wiring, threads. Started and stopped by the test's fixture.

    Args:
        attention: makes cameras take turns, with `policy`, but those whose ids are in `always`.
    """

    def __init__(
        self,
        state: Path,
        *,
        attention=None,
        policy=None,
        clock=None,
        ingest=None,
        always=frozenset(),
        **wiring,
    ) -> None:
        self.clock, self.network = clock or SystemClock(), Watchful()
        self.store = Store.open(f"sqlite:///{state / 'store.db'}")
        self.reader = AlertReader(self.store)
        self.evidence = EvidenceStore(state / "evidence")
        self.book = IncidentBook(
            self.store, self.clock, places={}, grids=Grids.none(), evidence=self.evidence,
            policy=Policy(run_mode="test"),
        )  # fmt: skip
        device = Device(self.network, self.clock)
        service = InferenceService(device, self.clock, ServiceSettings(threads=1))
        settings = IngestSettings(connects_per_s=100.0, **(ingest or {}))
        self.wiring = CameraWiring(settings, device, self.clock, **wiring)
        spec = ShardSpec(decoders=2, pre_roll_s=2.0, post_roll_s=2.0)
        self.shard = Shard(self.wiring.wire, service, self.book, self.clock, spec)
        self.turns = None
        if attention is not None:
            zone = self.clock.now().tzinfo
            self.turns = TakingTurns(
                attention, self.shard.deliver, self.wiring, zone, policy=policy, always=always
            )
            self.shard.take_turns(self.turns)

    def stop(self) -> None:
        """Stop what runs; once."""
        self.network.hold.set()
        if self.shard._started and not self.shard._stop.is_set():
            self.shard.stop()

    def state(self, camera_id):
        return next(one.state for one in self.shard.statuses() if one.camera_id == camera_id)

    def feed(self, camera_id):
        return self.shard.find(camera_id).feed

    def alerts(self):
        return self.reader.list(AlertFilter(), None, 20).items


@contextlib.contextmanager
def watching(state: Path, cameras, **options):
    """Start a machine that watches `cameras`; it is stopped at the end, and none of its threads stays."""
    before = set(threading.enumerate())
    machine = Machine(state, **options)
    try:
        machine.shard.set_cameras(cameras)
        machine.shard.start()
        yield machine
    finally:
        machine.stop()
        machine.store.close()
    until(lambda: not [one.name for one in set(threading.enumerate()) - before if one.is_alive()])
