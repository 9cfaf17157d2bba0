# SPDX-License-Identifier: AGPL-3.0-or-later
"""This project as a contestant: the shard of `gridwatch run` with everything but looks, the store and the API.

The network answers at once that it has seen nothing. What is followed follows as long as the process lives.
"""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from detectors.judge import Judge
from gridwatch.app.camera_wiring import CameraWiring
from gridwatch.app.live import Shard
from gridwatch.app.settings import IngestSettings
from gridwatch.app.shard_spec import ShardSpec
from gridwatch.core.camera import Camera
from gridwatch.core.clock import SystemClock
from gridwatch.core.detections import Detections, Part
from gridwatch.core.look import Interest
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone
from models.service.device import Device
from models.service.inference import InferenceService, ServiceSettings

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Nothing:
    """A network that costs nothing and has seen nothing."""

    name, sha256, batch, plan = "nothing", "0" * 64, 1, None
    parts: frozenset[Part] = frozenset()

    def input_size(self, width: int, height: int) -> tuple[int, int]:
        """Return an input's size."""
        _ = width, height
        return 640, 384

    def detect(self, frame: object, *, parts: frozenset[Part]) -> Detections:
        """Answer."""
        _ = frame, parts
        return Detections.none()


class Gridwatch:
    """A shard that watches cameras.

    Args:
        urls: of main streams.
        kinds: what zones look for.
        followed: decode every camera picture by picture, as if something were happening everywhere.
        sub: look at PATH/sub.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        kinds: frozenset[Kind] = frozenset({Kind.FIRE, Kind.SMOKE}),
        followed: bool = False,
        sub: bool = False,
    ) -> None:
        self._base_bytes = _rss_bytes()
        zone = Zone("picture", kinds, purpose="measurement")
        cameras = [
            Camera(
                f"camera-{n}", "", SecretUrl(url), (zone,), sub_url=SecretUrl(f"{url}/sub") if sub else None
            )
            for n, url in enumerate(urls)
        ]
        settings = IngestSettings(follow_at_most=len(urls) if followed else 4, connects_per_s=200.0)
        self._ring_bound_bytes = int(len(urls) * settings.ring_mib * 2**20)
        clock = SystemClock()
        device = Device(Nothing(), clock)  # type: ignore[arg-type]  all that the service asks of a network
        wiring = CameraWiring(settings, device, clock)
        book = SimpleNamespace(refused_evidence=0, camera_lost=lambda *_: 0, settle=lambda *_: 0)
        service = InferenceService(device, clock, ServiceSettings(threads=1))
        self._shard = Shard(wiring.wire, service, book, clock, ShardSpec(decoders=settings.decoders))  # type: ignore[arg-type]
        self._shard.set_cameras(cameras)
        self._watched = [one for camera in cameras if (one := self._shard.find(camera.camera_id))]
        if followed:
            for one in self._watched:
                one.pipeline.judging = Restless(one.camera)
                one.pipeline.intake.follow(Interest.CLAIMED)
        if not followed:
            service.submit = _not_given  # type: ignore[method-assign]  looks are excluded
        self._shard.start()

    @property
    def counts(self) -> list[int]:
        """Pictures decoded of each camera."""
        return [one.pipeline.intake.decoded for one in self._watched]

    def more(self) -> dict[str, Any]:
        """Return what else is to be known: key frames decoded and lost, what waits, memory."""
        shard = self._shard
        return {
            "decoded": shard.counts.decoded,
            "damaged": shard.counts.damaged,
            "late": shard.to_decode.replaced,
            "waiting": len(shard.to_decode),
            "looks": shard.counts.looks,
            "following": sum(one.pipeline.intake.following.followed for one in self._watched),
            "ring_bytes": sum(one.pipeline.intake.ring.bytes for one in self._watched),
            "ring_bound_bytes": self._ring_bound_bytes,
            "base_bytes": self._base_bytes,
            "states": sorted({status.state.value for status in shard.statuses()}),
        }


class Restless(Judge):
    """Detectors that always want to see more."""

    @property
    def wants_follow(self) -> Interest:
        """Return the highest interest there is."""
        return Interest.CLAIMED


def _not_given(look: object, parts: object, *, urgent: bool = False) -> None:
    _ = look, parts, urgent


def _rss_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE_BYTES


OURS: dict[str, Callable[[Sequence[str]], Any]] = {
    "gridwatch": Gridwatch,
    "followed-main": lambda urls: Gridwatch(urls, followed=True),
    "followed-sub": lambda urls: Gridwatch(urls, followed=True, sub=True),
    "traffic": lambda urls: Gridwatch(urls, kinds=frozenset({Kind.TRAFFIC})),
}
