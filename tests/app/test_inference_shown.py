# SPDX-License-Identifier: AGPL-3.0-or-later
"""What operators see of the inference service: metrics, and whether the process is ready."""

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from events.relay import RelayState
from gridwatch.app.live import Shard
from gridwatch.app.metrics import PipelineCollector
from gridwatch.app.settings import Settings
from gridwatch.app.shard_spec import ShardSpec
from gridwatch.app.wiring import _questions, _service, _shard, _unready
from gridwatch.core.camera import Camera
from gridwatch.core.clock import ManualClock
from gridwatch.core.detections import Detections, Part
from gridwatch.core.finding import Stage
from gridwatch.core.look import Interest
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone
from ingest.sight import Sight
from models.backends.choose import Plan
from models.errors import InferenceError
from models.service.asking import Outcome
from models.service.device import Device, DeviceState
from models.service.inference import InferenceService


class Network:
    parts = frozenset(Part)

    def __init__(self, plan=None):
        self.batch, self.plan = 1, plan

    def input_size(self, width, height):
        return width, height

    def prepare(self, width, height, *, parts):
        pass

    def detect(self, _frame, *, parts):
        return Detections.none()


def reopen():
    raise InferenceError("no device")


@pytest.fixture
def clock():
    return ManualClock(datetime(2026, 5, 1, tzinfo=UTC))


@pytest.fixture
def shard(clock):
    service = InferenceService(Device(Network(), clock, reopen=reopen), clock)
    book = SimpleNamespace(refused_evidence=0)
    return Shard(None, service, book, clock, ShardSpec(0))


def lose(shard):
    device = shard.service.device
    for _ in range(3):
        device.failed(device.network, "fell off the bus")


def test_what_the_service_did_not_answer_is_shown_by_reason(shard):
    """Each reason has a line from the start, so that its absence is not taken for zero; ages are a histogram."""
    shard.service.counts.outcomes[Outcome.STALE] += 7
    shard.service.counts.ages.add(0.4)
    lose(shard)
    registry = CollectorRegistry()
    registry.register(PipelineCollector(shard, lambda: (0, 0.0)))
    lines = generate_latest(registry).decode().splitlines()
    for expected in (
        'gridwatch_looks_unanswered_total{reason="stale"} 7.0',
        'gridwatch_looks_unanswered_total{reason="timed_out"} 0.0',
        'gridwatch_look_decided_age_seconds_bucket{le="0.25"} 0.0',
        'gridwatch_look_decided_age_seconds_bucket{le="0.5"} 1.0',
        "gridwatch_look_decided_age_seconds_count 1.0",
        'gridwatch_inference_device{state="lost"} 1.0',
        'gridwatch_inference_device{state="ready"} 0.0',
    ):
        assert expected in lines


def test_a_lost_device_makes_the_process_unready(shard):
    """Nothing is seen then, and whoever asks must be told."""
    shard.recorder.failing_since_mono_s = None
    reader, relay = SimpleNamespace(last_seq=lambda: 1), SimpleNamespace(state=RelayState)
    assert _unready(shard, reader, relay) == []
    lose(shard)
    assert _unready(shard, reader, relay) == [
        "looks get no answer: the inference device is lost (fell off the bus)"
    ]


def test_a_device_that_opens_and_does_not_answer_is_not_called_ready(shard, clock):
    """Neither by /readyz nor by the gauge: it has failed looks since it was lost and answered none."""
    shard.recorder.failing_since_mono_s = None
    device = shard.service.device
    device._reopen = Network
    lose(shard)
    for _ in range(2):
        clock.advance(10.0)
        device.mend()
        assert device.state is DeviceState.READY
        device.failed(device.network, "out of memory")
    clock.advance(10.0)
    device.mend()
    assert device.state is DeviceState.READY
    reader, relay = SimpleNamespace(last_seq=lambda: 1), SimpleNamespace(state=RelayState)
    assert _unready(shard, reader, relay) == [
        "looks get no answer: the inference device is lost (out of memory)"
    ]
    registry = CollectorRegistry()
    registry.register(PipelineCollector(shard, lambda: (0, 0.0)))
    lines = generate_latest(registry).decode().splitlines()
    assert 'gridwatch_inference_device{state="ready"} 0.0' in lines
    assert 'gridwatch_inference_device{state="lost"} 1.0' in lines
    device.worked(device.network)
    assert _unready(shard, reader, relay) == []


def test_answers_that_could_not_be_handed_on_are_shown(shard):
    """They are a mistake in the program, and nobody reads logs for them."""
    shard.service.counts.failed_deliveries += 2
    registry = CollectorRegistry()
    registry.register(PipelineCollector(shard, lambda: (0, 0.0)))
    assert "gridwatch_looks_not_delivered_total 2.0" in generate_latest(registry).decode().splitlines()


GPU, CPU = Plan("torch", "f16", "cuda"), Plan("openvino", "int8", "cpu")


@pytest.mark.parametrize(
    ("plan", "asked", "allowed", "state"),
    [
        (GPU, "cuda", True, "fallback"),
        (GPU, "auto", True, "fallback"),
        (GPU, "cuda", False, "lost"),
        (CPU, "auto", True, "lost"),
    ],
)
def test_the_cpu_stands_in_only_for_a_gpu_and_only_where_that_is_allowed(
    clock, monkeypatch, tmp_path, plan, asked, allowed, state
):
    """What is opened anew is what started: with `auto` a lost GPU would come back as a CPU that is called ready."""
    opened = []

    def open_network(models, state_dir=None):
        opened.append((models.backend, models.precision, models.device))
        assert state_dir is None, "nothing is timed while cameras wait"
        if models.backend != "auto":
            raise InferenceError("no device")
        return Network()

    monkeypatch.setattr("gridwatch.app.wiring.open_network", open_network)
    settings = Settings.model_validate(
        {"models": {"device": asked}, "inference": {"cpu_fallback": allowed}, "state": tmp_path}
    )
    device = _service(settings, Network(plan), [], clock).device
    for _ in range(3):
        device.failed(device.network, "gone")
    for _ in range(4):
        clock.advance(10.0)
        device.mend()
    assert device.state is DeviceState(state)
    again = (plan.backend, plan.precision, plan.device)
    assert opened == [again] * 3 + [("auto", "auto", "cpu") if state == "fallback" else again]


def test_the_network_is_made_ready_for_what_the_cameras_ask_the_most_frequent_first():
    """And for people alone, whom an alert's picture asks for, where the network tells them."""

    def camera(camera_id, *kinds):
        return Camera(camera_id, camera_id, SecretUrl("rtsp://h/x"), (Zone("z", frozenset(kinds)),))

    cameras = [camera("a", Kind.TRAFFIC, Kind.FIRE), camera("b", Kind.FIRE), camera("c", Kind.FIRE)]
    fire, people = frozenset({Part.FIRE}), frozenset({Part.PEOPLE})
    assert _questions(Network(), cameras) == [fire, fire | people, people]
    assert _questions(Network(), [camera("d", Kind.TRAFFIC)]) == [people]
    only_fire = Network()
    only_fire.parts = fire
    assert _questions(only_fire, cameras[1:]) == [fire]


def test_a_claim_whose_picture_fails_is_recorded_without_one(shard):
    """Whatever goes wrong with the picture, the claim is worth more."""

    class Pipeline:
        def evidence_of(self, *_):
            raise ZeroDivisionError

    records = []
    shard.recorder.submit = lambda record, **_: records.append(record)
    shard._book.record = lambda *recorded: records.append(recorded)
    shard._book.let_go = shard._book.camera_lost = lambda *_: None
    finding = SimpleNamespace(stage=Stage.OPENED, camera_id="a", finding_id="f")
    shard._submit(Pipeline(), finding, SimpleNamespace(camera_id="a"), Detections.none())
    records[0]()
    assert records[1] == (finding, None, ())


def test_what_following_left_out_is_shown(shard):
    """Who is followed and who is not, groups not decoded, packets skipped of cameras that are there or gone, looks dropped."""
    shard.follow.ask("cam", Interest.SUSPECT, 0.0)
    shard.follow.may_decode_group(0.0)
    shard._line.dropped += 3
    shard.counts.left_overflows += 4
    following = SimpleNamespace(overflows=5)
    shard._watched = {
        "cam": SimpleNamespace(
            failures=0,
            abandoned=0,
            pipeline=SimpleNamespace(
                intake=SimpleNamespace(following=following, sight=Sight("cam", "", shard._clock))
            ),
        )
    }
    registry = CollectorRegistry()
    registry.register(PipelineCollector(shard, lambda: (0, 0.0)))
    lines = generate_latest(registry).decode().splitlines()
    for expected in (
        "gridwatch_cameras_followed 0.0",
        "gridwatch_follow_refused_total 1.0",
        "gridwatch_groups_refused_total 1.0",
        "gridwatch_follow_overflows_total 9.0",
        "gridwatch_burst_looks_dropped_total 3.0",
    ):
        assert expected in lines


def test_a_camera_that_is_followed_is_counted(shard):
    """By the budget that the cameras of a configured machine really ask."""
    roll = SimpleNamespace(aside={}, unusable={})
    machine = _shard(Settings(), shard.service, shard._book, roll, None, lambda: None)
    machine.set_cameras([Camera("cam", "", SecretUrl("rtsp://127.0.0.1:1/x"))])
    machine.find("cam").pipeline.intake.follow(Interest.CLAIMED)
    registry = CollectorRegistry()
    registry.register(PipelineCollector(machine, lambda: (0, 0.0)))
    assert "gridwatch_cameras_followed 1.0" in generate_latest(registry).decode().splitlines()
