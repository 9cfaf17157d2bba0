# SPDX-License-Identifier: AGPL-3.0-or-later
"""Puts the real parts together for `gridwatch run`. The only place that knows which adapter stands behind which port."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from events.operations import Operations
from events.queues.port import CaseQueue
from events.reading import AlertReader
from events.registry import Registry
from events.relay import Relay, RelayState
from events.replies import ReplyReader
from events.retention import Retention
from events.stores.sql import Store
from events.times import CHINA
from events.tokens import TokenBook
from gridwatch.app.attention_metrics import AttentionCollector
from gridwatch.app.camera_wiring import CameraWiring
from gridwatch.app.cameras import CANARY_ID
from gridwatch.app.canary import Canary, CanaryRules, canary_camera
from gridwatch.app.canary_process import CanaryProcess
from gridwatch.app.engine import kinds_served, open_network, why_unserved
from gridwatch.app.homes import Homes
from gridwatch.app.leaving import MaskedClips
from gridwatch.app.live import Shard
from gridwatch.app.metrics import PipelineCollector, QueueCollector
from gridwatch.app.minding import Minder
from gridwatch.app.operations_metrics import OperationsCollector
from gridwatch.app.people import persons_in
from gridwatch.app.policy import policy_of
from gridwatch.app.roll import Roll
from gridwatch.app.settings import ApiSettings, ModelSettings, Settings
from gridwatch.app.shard_spec import ShardSpec
from gridwatch.app.storage import case_queue, store_url
from gridwatch.app.supervisor import decoding_page
from gridwatch.app.taking_turns import TakingTurns
from gridwatch.core.camera import Camera, Watch
from gridwatch.core.clock import Clock, SystemClock
from gridwatch.core.detections import Part
from ingest.coverage import Coverage
from models.network import Network
from models.service.device import LOOK_WITHIN_S, Device, DeviceRules, DeviceState
from models.service.inference import InferenceService, ServiceSettings
from models.service.waiting import Rules

log = structlog.get_logger()

GIB = 1 << 30


@dataclass(slots=True)
class Running:
    """Everything of one child process, in the order in which it starts."""

    store: Store
    shard: Shard
    relay: Relay
    replies: ReplyReader
    retention: Retention
    leaving: MaskedClips
    minder: Minder
    server: ApiServer
    network: Network
    canary: CanaryProcess | None = None
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
            "minder": self.minder.run,
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
        if self.canary is not None:
            self.canary.stop()
        self.server.stop()
        self.store.close()


def build(
    settings: Settings,
    queue_url: str,
    beat: Callable[[], None] = lambda: None,
    network: Network | None = None,
) -> Running:
    """Build what `gridwatch run` runs; nothing is connected to cameras yet.

    Args:
        queue_url: of the case queue, embedded or not.
        beat: called every second while the pipeline lives.
        network: in place of the configured one: for measurements of everything else.

    Raises:
        InputError: cameras, grids or weights are wrong, or the API would be open to other machines without a token.
    """
    clock = SystemClock()
    settings.state.mkdir(parents=True, exist_ok=True)
    store = Store.open(store_url(settings))
    _check_door(settings.api, TokenBook(store, clock), clock)
    network = network or open_network(settings.models, settings.state)
    exercises = CanaryProcess(clock) if settings.canary.every_min else None
    try:
        return _build(_Given(settings, store, network, exercises), case_queue(settings, queue_url), beat)
    except BaseException:  # a process must not be left behind
        if exercises is not None:
            exercises.stop()
        raise


@dataclass(frozen=True, slots=True)
class _Given:
    """What everything else is built on."""

    settings: Settings
    store: Store
    network: Network
    exercises: CanaryProcess | None


def _build(given: _Given, queue: CaseQueue, beat: Callable[[], None]) -> Running:
    settings, store, network, clock = given.settings, given.store, given.network, SystemClock()
    grids = Grids.load(settings.grids) if settings.grids else Grids.none()
    roll = _roll(given)
    evidence = EvidenceStore(settings.state / "evidence", max_bytes=int(settings.evidence.max_gib * GIB))
    places = _Places(roll)
    policy = policy_of(settings, network.sha256)
    book = IncidentBook(store, clock, places=places, grids=grids, evidence=evidence, policy=policy)
    book.resume()
    reader = AlertReader(store)
    relay = Relay(reader, queue, clock, keep=settings.queue.max_length)
    service = _service(settings, network, roll.cameras, clock)
    service.device.make_ready()
    leaving = MaskedClips(reader, evidence, book, partial(persons_in, service.device))
    homes = Homes(settings.state)
    shard = _shard(settings, service, book, roll, homes, beat)
    shard.set_cameras(roll.cameras)
    minder = Minder(
        shard=shard,
        operations=Operations(store, clock),
        coverage=Coverage(clock, CHINA),
        homes=homes,
        clock=clock,
        cameras_now=roll.changed,
        canary=_canary(given, reader, queue, policy.source),
        confirmed_since=reader.confirmed_by_camera if settings.attention.bounded else None,
    )
    services = Services(
        alerts=reader,
        book=book,
        evidence=evidence,
        live=shard,
        control=shard,
        grids=grids,
        clock=clock,
        tokens=TokenBook(store, clock),
        signer=Signer.load(settings.state),
        registry=_metrics(shard, relay, minder),
        ready=lambda: _unready(shard, reader, relay),
        backlog=relay.backlog,
        run_mode=settings.run_mode,
        leaving=leaving,
        places=lambda: places,
    )
    retention = Retention(store, evidence, policy.keep_days, clock, run_mode=policy.run_mode)
    server, replies = _server(services, settings.api), ReplyReader(book, queue)
    return Running(store, shard, relay, replies, retention, leaving, minder, server, network, given.exercises)


def _roll(given: _Given) -> Roll:
    """Read which cameras are to be watched, the test camera among them."""
    settings, exercises = given.settings, given.exercises
    others = [] if exercises is None else [canary_camera(exercises.start())]
    registry = Registry(given.store, SystemClock())
    network = given.network
    unserved = partial(why_unserved, kinds_served(network.classes, network.parts))
    roll = Roll(registry, settings.cameras, settings.state, unserved, others)
    roll.read()
    return roll


def _metrics(shard: Shard, relay: Relay, minder: Minder) -> CollectorRegistry:
    registry = CollectorRegistry()
    registry.register(PipelineCollector(shard, relay.backlog))
    registry.register(QueueCollector(relay))
    registry.register(OperationsCollector(minder.operations, minder.canary))
    if shard.turns is not None:
        registry.register(AttentionCollector(shard.turns))
    return registry


class _Places(Mapping[str, Camera]):
    """The cameras by id, as they are now."""

    def __init__(self, roll: Roll) -> None:
        self._roll = roll
        self._of: tuple[Camera, ...] = ()
        self._by_id: dict[str, Camera] = {}

    def __getitem__(self, camera_id: str) -> Camera:
        return self._now()[camera_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

    def _now(self) -> dict[str, Camera]:
        cameras = self._roll.cameras
        if cameras is not self._of:
            self._by_id, self._of = {camera.camera_id: camera for camera in cameras}, cameras
        return self._by_id


def _canary(given: _Given, reader: AlertReader, queue: CaseQueue, source: str) -> Canary | None:
    canary = given.settings.canary
    if given.exercises is None or canary.every_min is None:
        return None
    rules = CanaryRules(canary.every_min * 60, canary.within_s)
    return Canary(given.exercises, reader, partial(queue.mark, source), SystemClock(), rules)


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
    service: InferenceService,
    book: IncidentBook,
    roll: Roll,
    homes: Homes,
    beat: Callable[[], None],
) -> Shard:
    """Return a shard without cameras."""
    clock = SystemClock()
    wiring = CameraWiring(
        settings.ingest,
        service.device,
        clock,
        homes=homes,
        set_aside=lambda: roll.aside,
        unusable=lambda: roll.unusable,
        clips=settings.evidence,
    )
    spec = ShardSpec(
        decoders=settings.ingest.decoders,
        decode_on=settings.ingest.decode_on,
        pre_roll_s=settings.evidence.pre_roll_s,
        post_roll_s=settings.evidence.post_roll_s,
        beat=beat,
        page=decoding_page(),
        follow=wiring.follow,
    )
    shard = Shard(wiring.wire, service, book, clock, spec)
    if settings.attention.bounded:
        shard.take_turns(
            TakingTurns(settings.attention, shard.deliver, wiring, CHINA, always=frozenset({CANARY_ID}))
        )
    return shard


def _service(
    settings: Settings, network: Network, cameras: Sequence[Camera], clock: Clock
) -> InferenceService:
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


def _questions(network: Network, cameras: Sequence[Camera]) -> list[frozenset[Part]]:
    """Return what the network will be asked, the most frequent first: cameras' looks, then people for alerts' pictures."""
    watched = (camera for camera in cameras if camera.watch is Watch.ON)
    asked = Counter(parts for camera in watched for parts in Judge(camera).questions if parts)
    people = frozenset({Part.PEOPLE})
    found = [parts for parts, _ in asked.most_common()]
    return found if people in found or not people <= network.parts else [*found, people]


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
