# SPDX-License-Identifier: AGPL-3.0-or-later
"""The canary through everything that `gridwatch run` builds: test camera, stream, shard, network, store, relay and queue.

Nothing is a stand-in. Only the canary's own clock is set forward, so that no test waits for its minutes.
"""

import contextlib
import json
import urllib.request

import pytest

from events.operations_reading import OperationsReader
from events.queues.embedded import EmbeddedServer
from events.queues.redis_streams import RedisCaseQueue
from events.relay import Relay
from events.troubles import TroubleKind
from gridwatch.app import canary_process, minding, wiring
from gridwatch.app.cameras import CANARY_ID
from gridwatch.app.canary import Canary, Reached
from gridwatch.app.canary_process import LONGEST_PAUSE_S, CanaryProcess
from gridwatch.app.settings import Settings
from gridwatch.core.camera import SightState
from tests.app.watching import LateClock, Street, clip, until

pytestmark = pytest.mark.timeout(300)

WITHIN_S = 300.0  # no machine is so slow that an exercise would be missed while the way is whole
FIRST_S = 90.0


class Machine:
    """What `gridwatch run` runs as its child, beside an embedded queue."""

    def __init__(self, running, queue, clock):
        self.running, self.queue, self.clock = running, queue, clock

    def sees(self, camera_id=CANARY_ID):
        return [one.state for one in self.running.shard.statuses() if one.camera_id == camera_id] == [
            SightState.SEEING
        ]

    def begin(self):
        """Let the first exercise be due, as soon as the test camera is seen."""
        until(self.sees, within_s=60)
        self.clock.late_s += FIRST_S + 1

    def messages(self):
        """Return what stands in the queue: what each message is of, and what it says."""
        found = self.queue.history("", 20)
        return [(entry.fields["type"].split(".")[-2], json.loads(entry.fields["data"])) for entry in found]

    def told(self):
        """Return the open operations alerts: kind, and the reason of its first member."""
        found = OperationsReader(self.running.store).alerts(open_only=True).items
        return [(one.kind, one.members[0].reason) for one in found]

    def missed(self):
        """Return how far exercises came that are told as missed."""
        return [reason for kind, reason in self.told() if kind is TroubleKind.CANARY]

    def metrics(self):
        with urllib.request.urlopen(self.running.server.url + "/metrics", timeout=10) as answer:
            return answer.read().decode().splitlines()


@contextlib.contextmanager
def run(folder, monkeypatch, cameras="cameras: []\n"):
    """Build and start everything with the committed network."""
    clock = LateClock()

    def canary(scene, reader, mark, _clock, rules):
        return Canary(scene, reader, mark, clock, rules)

    monkeypatch.setattr(wiring, "Canary", canary)
    monkeypatch.setattr(wiring, "CanaryProcess", lambda _clock: CanaryProcess(clock))
    monkeypatch.setattr(minding, "STEP_S", 0.2)
    settings = Settings.model_validate(
        {
            "state": folder / "run", "cameras": folder / "cameras.yaml", "api": {"port": 0},
            "canary": {"every_min": 10, "within_s": WITHIN_S},
            "attention": {"connections": 4},
            "models": {"backend": "openvino", "precision": "f32", "threads": 1},
        }
    )  # fmt: skip
    (folder / "cameras.yaml").write_text(cameras, "utf-8")
    server = EmbeddedServer()
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        url = server.start(folder / "queue")
        running = wiring.build(settings, url)
        stack.callback(running.close)
        queue = RedisCaseQueue.connect(url, stream=settings.queue.stream, replies="r", group="g")
        stack.callback(queue.close)
        running.start()
        yield Machine(running, queue, clock)


def test_a_fire_of_the_test_camera_is_a_message_in_the_queue(tmp_path, monkeypatch):
    """The alert of the exercise went the whole way, and is marked as one; nothing is alarmed, and metrics say so."""
    with run(tmp_path, monkeypatch) as machine:
        machine.begin()
        canary = machine.running.minder.canary
        until(lambda: canary.arrived == 1, within_s=120)
        stage, said = machine.messages()[0]
        assert (stage, said["run_mode"], said["kind"]) == ("opened", "exercise", "fire")
        assert said["camera_id"] == CANARY_ID
        assert machine.told() == []
        lines = machine.metrics()
        assert 'gridwatch_canary_exercises_total{outcome="arrived"} 1.0' in lines
        assert 'gridwatch_attention_cameras{watched="always"} 1.0' in lines  # the test camera takes no turns


def test_a_way_that_is_broken_is_an_operations_alert(tmp_path, monkeypatch):
    """With a relay that does not run the fire is recorded, its message never comes, and that is alarmed in time."""
    monkeypatch.setattr(Relay, "run", lambda _, stop: stop.wait())
    with run(tmp_path, monkeypatch) as machine:
        machine.begin()
        running = machine.running
        until(lambda: running.shard.find(CANARY_ID).claims, within_s=120)
        until(lambda: running.relay.backlog()[0] > 0)
        assert machine.told() == []
        machine.clock.late_s += WITHIN_S
        until(machine.told)
        assert machine.told() == [(TroubleKind.CANARY, Reached.RECORDED.value)]
        assert machine.messages() == []
        assert 'gridwatch_canary_exercises_total{outcome="missed"} 1.0' in machine.metrics()


def test_a_test_camera_that_does_not_start_keeps_nobody_from_watching(tmp_path, monkeypatch):
    """The other cameras are seen, that no exercise can be made is alarmed, and when it starts after all one arrives."""
    footage = clip(tmp_path / "gate.mp4")
    with Street({"gate": footage}) as street, monkeypatch.context() as patch:
        patch.setattr(canary_process, "_MODULE", "gridwatch.simulator.no_such_module")
        listed = f"cameras:\n- {{id: gate, name: gate, place: yard, url: '{street.url('gate').reveal()}'}}\n"
        with run(tmp_path, monkeypatch, listed) as machine:
            until(lambda: machine.sees("gate"), within_s=60)
            canary = machine.running.minder.canary
            machine.clock.late_s += FIRST_S + 1
            until(lambda: canary._due_mono_s is not None)
            assert not machine.missed()
            machine.clock.late_s += WITHIN_S + 11
            until(machine.missed)
            assert machine.missed() == [Reached.NOT_BURNING.value]
            canary._next_mono_s = float("inf")  # none before its camera is seen
            patch.undo()
            machine.clock.late_s += LONGEST_PAUSE_S + 1
            until(machine.sees, within_s=60)
            canary._next_mono_s = 0.0
            until(lambda: canary.arrived == 1, within_s=120)
            assert canary.troubles() == []
