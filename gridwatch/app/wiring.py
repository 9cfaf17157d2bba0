# SPDX-License-Identifier: AGPL-3.0-or-later
"""Puts the real parts together for `gridwatch run`. The only place that knows which adapter stands behind which port."""

import random
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import structlog
from prometheus_client import CollectorRegistry

from api.application import create_app
from api.guard import AccessPolicy, address_to_bind, is_local
from api.server import ApiServer
from api.services import Services
from api.signing import Signer
from detectors.judge import Judge
from events.errors import StoreError
from events.evidence import EvidenceStore
from events.grids import Grids
from events.incidents import IncidentBook
from events.reading import AlertReader
from events.relay import Relay, RelayState
from events.replies import ReplyReader
from events.retention import Retention
from events.stores.sql import Store
from events.tokens import TokenBook
from gridwatch.app.cameras import load_cameras
from gridwatch.app.engine import check_parts, open_network
from gridwatch.app.leaving import MaskedClips
from gridwatch.app.live import Shard, ShardSpec
from gridwatch.app.metrics import PipelineCollector, QueueCollector
from gridwatch.app.people import persons_in
from gridwatch.app.pipeline import CameraPipeline
from gridwatch.app.policy import policy_of
from gridwatch.app.settings import ApiSettings, IngestSettings, ModelSettings, Settings
from gridwatch.app.storage import case_queue, store_url
from gridwatch.core.camera import Camera
from gridwatch.core.clock import Clock, SystemClock
from gridwatch.core.detections import Part
from ingest.backoff import Backoff
from ingest.feed import Feed
from ingest.gate import Gate, GateBounds
from ingest.intake import CameraIntake
from ingest.packets import Packet
from ingest.ring import Ring
from ingest.rtsp import RtspSource
from models.network import Network
from models.service.device import LOOK_WITHIN_S, Device, DeviceRules, DeviceState
from models.service.inference import InferenceService, ServiceSettings
from models.service.waiting import Rules

log = structlog.get_logger()

CONNECTS_PER_HOST = 8
MIB, GIB = 1 << 20, 1 << 30


@dataclass(slots=True)
class Running:
    """Everything of one child process, in the order in which it starts."""

    store: Store
    shard: Shard
    relay: Relay
    replies: ReplyReader
    retention: Retention
    leaving: MaskedClips
    server: ApiServer
    network: Network
    stop: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Begin to serve, then to watch."""
        self.server.start()
        workers = {
            "relay": self.relay.run,
            "replies": self.replies.run,
            "retention": self.retention.run,
            "leaving": self.leaving.run,
        }
        for name, run in workers.items():
            thread = threading.Thread(target=run, args=(self.stop,), name=name, daemon=True)
            thread.start()
            self.threads.append(thread)
        self.shard.start()

    def close(self) -> None:
        """Stop looking, then sending, then serving; the store last."""
        self.shard.stop()
        self.stop.set()
        for thread in self.threads:
            thread.join(5)
        self.server.stop()
        self.store.close()


def build(settings: Settings, queue_url: str, beat: Callable[[], None] = lambda: None) -> Running:
    """Build what `gridwatch run` runs; nothing is connected to cameras yet.

    Args:
        queue_url: of the case queue, embedded or not.
        beat: called every second while the pipeline lives.

    Raises:
        InputError: cameras, grids or weights are wrong, or the API would be open to other machines without a token.
    """
    clock = SystemClock()
    settings.state.mkdir(parents=True, exist_ok=True)
    store = Store.open(store_url(settings))
    tokens = TokenBook(store, clock)
    _check_door(settings.api, tokens, clock)
    cameras = load_cameras(settings.cameras)
    grids = Grids.load(settings.grids) if settings.grids else Grids.none()
    network = open_network(settings.models, settings.state)
    check_parts(network, cameras)
    evidence = EvidenceStore(settings.state / "evidence", max_bytes=int(settings.evidence.max_gib * GIB))
    places = {camera.camera_id: camera for camera in cameras}
    policy = policy_of(settings, network.sha256)
    book = IncidentBook(store, clock, places=places, grids=grids, evidence=evidence, policy=policy)
    book.resume()
    reader = AlertReader(store)
    queue = case_queue(settings, queue_url)
    relay = Relay(reader, queue, clock, keep=settings.queue.max_length)
    service = _service(settings, network, cameras, clock)
    service.device.make_ready()
    leaving = MaskedClips(reader, evidence, book, partial(persons_in, service.device))
    shard = _shard(settings, cameras, service, book, clock, beat)
    registry = CollectorRegistry()
    registry.register(PipelineCollector(shard, relay.backlog))
    registry.register(QueueCollector(relay))
    services = Services(
        alerts=reader,
        book=book,
        evidence=evidence,
        live=shard,
        grids=grids,
        clock=clock,
        tokens=tokens,
        signer=Signer.load(settings.state),
        registry=registry,
        ready=lambda: _unready(shard, reader, relay),
        backlog=relay.backlog,
        run_mode=settings.run_mode,
        leaving=leaving,
    )
    server = _server(services, settings.api)
    retention = Retention(store, evidence, policy.keep_days, clock)
    return Running(store, shard, relay, ReplyReader(book, queue), retention, leaving, server, network)


def _check_door(api: ApiSettings, tokens: TokenBook, clock: Clock) -> None:
    """Refuse to be reached from other machines without a token, before anything else takes its time."""
    if is_local(api.host):
        return
    address_to_bind(api.host, tokens.all(), clock.now())
    if api.tls is None:
        log.warning("door_without_tls", host=api.host, means="tokens and pictures travel unencrypted")


def _server(services: Services, api: ApiSettings) -> ApiServer:
    policy = AccessPolicy(hosts=tuple(api.names))
    return ApiServer(create_app(services, policy=policy), api.host, api.port, api.tls)


def _shard(
    settings: Settings,
    cameras: list[Camera],
    service: InferenceService,
    book: IncidentBook,
    clock: Clock,
    beat: Callable[[], None],
) -> Shard:
    pipelines = [
        CameraPipeline(camera, _intake(camera, settings.ingest, clock), service.device, Judge(camera))
        for camera in cameras
    ]
    # Per host, so that the cameras behind a dead switch do not keep others from connecting.
    admissions = {camera.url.host: threading.BoundedSemaphore(CONNECTS_PER_HOST) for camera in cameras}

    def make_feed(pipeline: CameraPipeline, deliver: Callable[[Packet], None]) -> Feed:
        camera = pipeline.camera
        return Feed(
            pipeline.intake,
            lambda: RtspSource(camera.camera_id, camera.url, clock),
            deliver,
            clock=clock,
            backoff=Backoff(random.Random()),  # noqa: S311  spreads reconnects; no secret
            admission=admissions[camera.url.host],
        )

    evidence = settings.evidence
    spec = ShardSpec(settings.ingest.decoders, evidence.pre_roll_s, evidence.post_roll_s, beat)
    return Shard(pipelines, make_feed, service, book, clock, spec)


def _service(settings: Settings, network: Network, cameras: list[Camera], clock: Clock) -> InferenceService:
    """Return the service on `network`'s device; on a GPU, with the CPU in its place where that is allowed.

    What is opened anew is what started, and nothing else: with `auto` a lost GPU would come back as a CPU that is called
    ready, and stay one.
    """
    models, inference, plan = settings.models, settings.inference, network.plan
    again, on_cpu = models, _asking(models, "auto", "auto", "cpu")
    if plan is not None:
        again = _asking(models, plan.backend, plan.precision, plan.device)
    may_fall_back = inference.cpu_fallback and plan is not None and plan.device == "cuda"
    device = Device(
        network,
        clock,
        reopen=lambda: open_network(again),
        fallback=(lambda: open_network(on_cpu)) if may_fall_back else None,
        rules=DeviceRules(retry_s=inference.retry_s, look_within_s=min(LOOK_WITHIN_S, inference.timeout_s)),
        looks=_questions(network, cameras),
    )
    rules = Rules(inference.staleness_s, inference.batch_deadline_ms / 1000)
    return InferenceService(
        device, clock, ServiceSettings(threads=models.threads, timeout_s=inference.timeout_s, rules=rules)
    )


def _asking(models: ModelSettings, backend: str, precision: str, device: str) -> ModelSettings:
    return models.model_copy(update={"backend": backend, "precision": precision, "device": device})


def _questions(network: Network, cameras: list[Camera]) -> list[frozenset[Part]]:
    """Return what the network will be asked, the most frequent first: cameras' looks, then people for alerts' pictures."""
    asked = Counter(Judge(camera).parts for camera in cameras)
    people = frozenset({Part.PEOPLE})
    found = [parts for parts, _ in asked.most_common()]
    return found if people in found or not people <= network.parts else [*found, people]


def _intake(camera: Camera, ingest: IngestSettings, clock: Clock) -> CameraIntake:
    ring = Ring(span_s=ingest.ring_s, max_bytes=int(ingest.ring_mib * MIB))
    return CameraIntake(camera, clock, ring=ring, gate=Gate(GateBounds(look_every_s=ingest.look_every_s)))


def _unready(shard: Shard, reader: AlertReader, relay: Relay) -> list[str]:
    """Return why the process is not ready: asked anew each time, because a quiet night writes nothing."""
    reasons = []
    try:
        reader.last_seq()
    except StoreError:
        reasons.append("the store does not answer; what is found waits in memory")
    else:
        if shard.recorder.failing_since_mono_s is not None:
            reasons.append("recordings wait: the store did not take the last one")
    device = shard.service.device
    if device.state is DeviceState.LOST or device.lost_for_s() > 0:
        reasons.append(f"looks get no answer: {device.trouble}")
    if relay.state is RelayState.CONFLICT:
        reasons.append(f"nothing is sent to the case queue: {relay.problem}")
    return reasons
