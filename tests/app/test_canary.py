# SPDX-License-Identifier: AGPL-3.0-or-later
"""The canary: a fire that is shown must reach the case queue as an exercise, and what stays away becomes an alarm."""

import time
from dataclasses import replace
from datetime import UTC, datetime

import av
import cv2
import pytest

from detectors.judge import Judge
from events.alerts import Decision
from events.errors import QueueError, StoreError
from events.grids import Grids
from events.incidents import IncidentBook
from events.operations import Operations
from events.operations_reading import OperationsReader
from events.policy import Policy, Push
from events.queues.memory import MemoryCaseQueue
from events.reading import AlertReader
from events.relay import Relay
from events.stores.sql import Store
from events.troubles import TroubleKind
from gridwatch.app.cameras import CANARY_ID
from gridwatch.app.canary import Canary, CanaryRules, Reached, canary_camera
from gridwatch.app.canary_process import CanaryProcess
from gridwatch.app.engine import open_network
from gridwatch.app.settings import ModelSettings
from gridwatch.core.clock import ManualClock, SystemClock
from gridwatch.core.finding import Finding, Stage
from gridwatch.core.look import Look, LookReason
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind
from models.service.asking import ask
from tests.app.watching import until

START = datetime(2026, 11, 26, 2, 0, tzinfo=UTC)
RULES = CanaryRules(every_s=600, within_s=60)


class Scene:
    """A scene that a test switches off."""

    def __init__(self):
        self.runs = self.takes = True
        self.burnt = []

    def keep(self):
        return self.runs

    def burn(self, for_s):
        if self.takes:
            self.burnt.append(for_s)
        return self.takes


class Chain:
    """Everything after the detectors: a real store, book and relay, and the canary that watches them."""

    def __init__(self, folder, policy=None):
        self.clock = ManualClock(START)
        self.store = Store.open(f"sqlite:///{folder / 'gridwatch.db'}")
        camera = canary_camera(SecretUrl("rtsp://u:p@127.0.0.1/canary"))
        self.policy = policy or Policy()
        self.book = IncidentBook(
            self.store,
            self.clock,
            places={CANARY_ID: camera},
            grids=Grids.none(),
            evidence=None,
            policy=self.policy,
        )
        self.reader, self.queue, self.scene = AlertReader(self.store), MemoryCaseQueue(), Scene()
        self.relay = Relay(self.reader, self.queue, self.clock)
        self.mark = lambda: self.queue.mark(self.policy.source)
        self.findings = 0
        self.restart()

    def restart(self):
        self.operations = Operations(self.store, self.clock)
        self.canary = Canary(self.scene, self.reader, self.ask_mark, self.clock, RULES)

    def ask_mark(self):
        return self.mark()

    def run(self, seconds):
        """Let time pass, as the ticker does."""
        for _ in range(round(seconds / 5)):
            self.clock.advance(5)
            self.canary.step()
            self.operations.step([], {}, self.canary.troubles())

    def says(self, stage):
        """Let the detector claim the fire, or end its claim."""
        self.findings += stage is Stage.OPENED
        finding = Finding(
            finding_id=f"f{self.findings}", camera_id=CANARY_ID, kind=Kind.FIRE, subtype="flame",
            zone_id="canary", zone_name="自检", stage=stage, at=self.clock.now(), at_mono_s=self.clock.mono_s(),
            began_at=self.clock.now(), confidence=0.9, boxes=(), facts={},
        )  # fmt: skip
        return self.book.record(finding, None)

    def told(self):
        """Return the open operations alerts: kind, and the reason of its first member."""
        found = OperationsReader(self.store).alerts(open_only=True).items
        return [(one.kind, one.members[0].reason) for one in found]


@pytest.fixture
def chain(tmp_path):
    made = Chain(tmp_path)
    yield made
    made.store.close()


def test_an_exercise_arrives_when_its_message_is_in_the_queue(chain):
    """Recorded is not arrived, sent is; it is an exercise on a machine that works for real, and nothing is alarmed."""
    chain.run(90)
    assert chain.scene.burnt == [RULES.burn_s]
    alert = chain.says(Stage.OPENED)
    chain.run(10)
    assert chain.canary.arrived == 0
    chain.relay.step()
    chain.run(5)
    assert (chain.canary.arrived, chain.canary.missed) == (1, 0)
    assert chain.canary.last_took_s == 15
    assert alert.run_mode == "exercise"
    assert '"run_mode":"exercise"' in chain.queue.entries[0]["data"].replace(": ", ":")
    assert chain.told() == []


def test_exercises_repeat_and_a_reopened_incident_counts(chain):
    """Every ten minutes one is made; the same incident that is reopened is a message too."""
    chain.run(90)
    for arrived in (1, 2, 3):
        chain.says(Stage.OPENED)
        chain.relay.step()
        chain.run(30)
        assert chain.canary.arrived == arrived
        chain.says(Stage.ENDED)
        chain.relay.step()
        chain.run(570)
    assert len(chain.scene.burnt) == 4
    kinds = [entry["type"].split(".")[-2] for entry in chain.queue.entries]
    assert kinds == ["opened", "ended", "reopened", "ended", "reopened", "ended"]


def away(error):
    def ask_it(*_):
        raise error

    return ask_it


@pytest.mark.parametrize(
    ("breaks", "reason"),
    [
        (lambda _: None, Reached.NOTHING),
        (lambda chain: chain.says(Stage.OPENED), Reached.RECORDED),
        (
            lambda chain: (chain.says(Stage.OPENED), setattr(chain, "mark", away(QueueError("away")))),
            Reached.QUEUE_AWAY,
        ),
    ],
    ids=["nothing", "recorded", "queue-away"],
)
def test_what_does_not_arrive_in_time_is_an_alarm_that_says_how_far_it_came(chain, breaks, reason):
    """After its minute the exercise is missed, with the reason; the alarm stays until one arrives."""
    chain.run(90)
    breaks(chain)
    chain.run(60)
    assert chain.told() == []
    chain.run(5)
    assert chain.told() == [(TroubleKind.CANARY, reason.value)]
    assert chain.canary.missed == 1
    chain.mark = lambda: chain.queue.mark(chain.policy.source)
    chain.says(Stage.ENDED)
    chain.relay.step()
    chain.run(500)
    assert len(chain.told()) == 1
    chain.run(60)
    chain.says(Stage.OPENED)
    chain.relay.step()
    chain.run(60)
    assert chain.canary.arrived == 1
    assert chain.told() == []


def test_an_alarm_outlives_a_restart_until_an_exercise_arrives(chain):
    """The process after a restart knows that the last exercise was missed, and since when."""
    chain.run(165)
    before = OperationsReader(chain.store).alerts(open_only=True).items
    assert len(before) == 1
    chain.restart()
    chain.run(80)
    after = OperationsReader(chain.store).alerts(open_only=True).items
    assert [(one.alert_id, one.began_at) for one in after] == [(before[0].alert_id, before[0].began_at)]
    chain.run(10)
    chain.says(Stage.OPENED)
    chain.relay.step()
    chain.run(60)
    assert chain.told() == []


@pytest.mark.parametrize("trouble", ["runs", "takes"])
def test_a_test_camera_that_does_not_run_is_an_alarm(chain, trouble):
    """An exercise that cannot be made is no exercise that went well."""
    setattr(chain.scene, trouble, False)
    chain.run(170)
    assert chain.told() == [(TroubleKind.CANARY, Reached.NOT_BURNING.value)]
    setattr(chain.scene, trouble, True)
    chain.run(20)
    assert len(chain.scene.burnt) == 1


def test_an_exercise_waits_until_the_one_before_has_ended(chain):
    """While its incident is open no other fire is shown; one that never ends is an alarm."""
    chain.run(90)
    chain.says(Stage.OPENED)
    chain.relay.step()
    chain.run(600)
    assert len(chain.scene.burnt) == 1
    assert chain.told() == []
    chain.run(80)
    assert chain.told() == [(TroubleKind.CANARY, Reached.OPEN.value)]
    chain.says(Stage.ENDED)
    chain.run(30)
    assert len(chain.scene.burnt) == 2


def test_a_store_that_is_away_is_an_alarm_when_it_comes_back(chain, monkeypatch):
    """While nothing can be read the exercise cannot arrive; the alarm is told once there is where to tell it."""
    chain.run(90)
    with monkeypatch.context() as patched:
        patched.setattr(AlertReader, "list", away(StoreError("away")))
        chain.run(65)
    assert chain.canary.missed == 1
    assert chain.told() == [(TroubleKind.CANARY, Reached.STORE_AWAY.value)]


def test_an_exercise_is_pushed_where_real_fires_wait_for_a_confirmation(tmp_path):
    """A policy of pushing on confirmation would hold every exercise back: nobody confirms them."""
    chain = Chain(tmp_path, Policy(push={Kind.FIRE: Push.ON_CONFIRM}))
    chain.run(90)
    alert = chain.says(Stage.OPENED)
    assert alert.decision is Decision.PENDING
    chain.relay.step()
    chain.run(5)
    assert chain.canary.arrived == 1
    chain.store.close()


# the real process


class Shown:
    """A decoded picture as detectors and the network want it."""

    def __init__(self, frame):
        self._bgr = frame.to_ndarray(format="bgr24")
        self.height, self.width = self._bgr.shape[:2]

    def luma(self):
        return cv2.cvtColor(self._bgr, cv2.COLOR_BGR2GRAY)

    def view(self, width, height):
        return cv2.resize(self._bgr, (width, height))


@pytest.fixture
def process():
    made = CanaryProcess(SystemClock())
    yield made
    made.stop()


def looks(url, seconds):
    """Yield second and picture of the stream's key frames, as they come, for at most so many seconds."""
    began_s = time.monotonic()
    with av.open(url.reveal(), options={"rtsp_transport": "tcp"}, timeout=20) as container:
        stream = container.streams.video[0]
        stream.codec_context.skip_frame = "NONKEY"
        for frame in container.decode(stream):
            at_s = time.monotonic() - began_s
            yield at_s, Shown(frame)
            if at_s > seconds:
                return


@pytest.mark.timeout(150)
def test_a_fire_of_the_real_process_goes_the_whole_way(chain, process, tmp_path):
    """Stream, decoder, the committed network, the fire rule, book and relay: the real exercise arrives in the queue."""
    url = process.start()
    until(process.keep, within_s=60)
    camera = canary_camera(url)
    network = open_network(ModelSettings(backend="openvino", precision="f32", threads=1), tmp_path)
    judge = Judge(camera)
    chain.scene = process
    chain.restart()
    began_s = None
    for at_s, picture in looks(url, 60):
        if began_s is None:
            chain.run(90)
            began_s = at_s
        chain.clock.advance(1)
        look = Look(CANARY_ID, LookReason.SUSPECT, at_s, chain.clock.now(), 20.0, picture)
        for finding in judge.update(look, ask(network, picture, judge.parts).answer):
            chain.book.record(replace(finding, at=chain.clock.now()), None)
        chain.relay.step()
        chain.canary.step()
        if chain.canary.arrived:
            break
    assert chain.canary.arrived == 1
    assert chain.canary.last_took_s < RULES.within_s
