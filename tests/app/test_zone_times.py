# SPDX-License-Identifier: AGPL-3.0-or-later
"""A zone's times from files to looks: written, refused, shown, and what the network is asked for at which hour."""

from datetime import datetime
from types import SimpleNamespace

import pytest
import yaml
from typer.testing import CliRunner

from detectors.judge import Judge
from events.times import CHINA
from gridwatch.app.camera_lines import read_lines
from gridwatch.app.cameras import load_cameras
from gridwatch.app.cameras_cli import cameras
from gridwatch.app.pipeline import CameraPipeline
from gridwatch.app.watched import Watched
from gridwatch.app.wiring import _questions
from gridwatch.app.yaml_border import ConfigError
from gridwatch.core.camera import Camera
from gridwatch.core.detections import Detections, Part
from gridwatch.core.finding import Stage
from gridwatch.core.look import Look, LookReason
from gridwatch.core.redact import SecretUrl
from gridwatch.core.schedule import Schedule
from gridwatch.core.zone import Kind, Zone

FIRE, COUNT = frozenset({Part.FIRE}), frozenset({Part.PEOPLE, Part.CROWD})
NIGHT, DAY = (datetime(2026, 3, 2, hour, tzinfo=CHINA) for hour in (22, 9))

ZONES = """
cameras:
  - id: a
    url: rtsp://h/1
    zones:
      - {id: all, kinds: [fire]}
      - id: gate
        kinds: [traffic]
        active: 22:00-06:00
      - id: yard
        kinds: [traffic]
        active:
          - mon-fri 07:00-08:30 16:00-18:30
          - "sat,sun 08:00-20:00"
"""


@pytest.fixture
def written(tmp_path):
    (tmp_path / "gridwatch.yaml").write_text("state: state\n", "utf-8")

    def write(text, name="cameras.yaml"):
        file = tmp_path / name
        file.write_text(text, "utf-8")
        return file

    return write


@pytest.fixture
def run(tmp_path):
    def command(*arguments):
        given = [str(argument) for argument in arguments]
        return CliRunner().invoke(cameras, [*given, "-c", str(tmp_path / "gridwatch.yaml")])

    return command


def documents(run):
    return {one["id"]: one for one in yaml.safe_load(run("export").stdout)["cameras"]}


def test_a_zones_times_are_read_on_the_citys_clock(written):
    """One line or several; a zone that says nothing is always watched."""
    (camera,) = load_cameras(written(ZONES))
    everything, gate, yard = camera.zones
    assert everything.active is None
    assert [zone.active.includes(NIGHT) for zone in (gate, yard)] == [True, False]
    assert not gate.active.includes(DAY)
    assert yard.active == Schedule.parse(["mon-fri 07:00-08:30 16:00-18:30", "sat-sun 08:00-20:00"], CHINA)


@pytest.mark.parametrize(
    ("was", "wrong", "line", "path", "part"),
    [
        ("active: 22:00-06:00", "active: 22:00-25:00", 9, "cameras.0.zones.1.active.0", "'22:00-25:00' is no time"),
        ("active: 22:00-06:00", "active: 22:00", 9, "cameras.0.zones.1.active", "must be text: write HH:MM-HH:MM"),
        ("active: 22:00-06:00", "active: []", 9, "cameras.0.zones.1.active", "at least 1 item"),
        ('"sat,sun', '"sat,son', 14, "cameras.0.zones.2.active.1", "'son' is no day (mon tue wed"),
    ],
)  # fmt: skip
def test_a_mistake_in_times_is_named_with_its_line_and_what_to_write(written, was, wrong, line, path, part):
    """Where it stands, to the line of the list, and the form."""
    file = written(ZONES.replace(was, wrong))
    with pytest.raises(ConfigError) as caught:
        load_cameras(file)
    (problem,) = caught.value.problems
    assert (problem.line, problem.path) == (line, path)
    assert part in problem.text
    assert "active.0" not in path or "write HH:MM-HH:MM" in problem.text or "00:00 to 24:00" in problem.text


CSV = (
    "编码,地址,场所,检测,布防时段\n"
    "a,rtsp://h/1,校门,人群,\n"
    'b,rtsp://h/2,市场,,"周一至周五 06:00-20:00；sat,sun 05:00-22:00"\n'
    "c,rtsp://h/3,广场,,6-8\n"
)


def test_a_column_of_a_csv_says_times_and_comes_back_as_it_was(written, run):
    """An empty cell is the place's; a line whose times are none is refused with what to write."""
    file = written(CSV, "cameras.csv")
    (refused,) = read_lines(file).refused
    assert refused.number == 4
    assert "active.0: '6-8': '6-8' is no time: write HH:MM-HH:MM" in refused.problem
    run("import", file)
    before = documents(run)
    assert before["b"]["active"] == ["周一至周五 06:00-20:00", "sat,sun 05:00-22:00"]
    assert "active" not in before["a"]
    out = file.with_name("out.csv")
    run("export", out)
    assert "0 new, 0 changed, 2 unchanged" in run("import", out).stdout
    assert documents(run) == before


def test_what_is_looked_for_at_times_only_is_shown(written, run):
    """By the report of an import or a check, and by the list, beside each camera."""
    file = written(CSV, "cameras.csv")
    told = "looked for at these times only: crowd mon-fri 07:00-08:30 11:30-14:00 16:00-18:30 (1); crowd 周一至周五 06:00-20:00;"
    assert told in run("check", file).stdout
    assert told in run("import", file).stdout
    run("import", written("cameras: [{id: d, url: 'rtsp://h/4'}]\n"))
    shown = {line.split("\t")[0]: line.split("\t")[-1] for line in run("list").stdout.splitlines()}
    assert shown["id"] == "only at"
    assert shown["a"] == "crowd mon-fri 07:00-08:30 11:30-14:00 16:00-18:30"
    assert shown["b"] == "crowd 周一至周五 06:00-20:00; sat,sun 05:00-22:00"
    assert shown["d"] == ""


@pytest.fixture
def camera():
    """Return a camera that looks for fire always and counts by day."""
    by_day = Schedule.parse(["06:00-20:00"], CHINA)
    zones = Zone("f", frozenset({Kind.FIRE})), Zone("c", frozenset({Kind.CROWD}), active=by_day)
    return Camera("a", "a", SecretUrl("rtsp://h/1"), zones)


@pytest.mark.parametrize(("captured_at", "asked"), [(NIGHT, FIRE), (DAY, FIRE | COUNT)])
def test_the_network_is_asked_only_for_what_is_watched_at_that_hour(camera, captured_at, asked):
    """And the camera's sight is proved by each of these looks alike."""
    seen, proved = [], []
    network = SimpleNamespace(detect=lambda _, *, parts: seen.append(parts) or Detections.none())
    intake = SimpleNamespace(sight=SimpleNamespace(looked=proved.append))
    pipeline = CameraPipeline(camera, intake, network, Judge(camera))
    frame = SimpleNamespace(luma=lambda: None)
    look = Look("a", LookReason.PATROL, 1.0, captured_at, 0.0, frame)
    assert isinstance(pipeline.answer(look), Detections)
    assert seen == [asked]
    assert proved == [look]


def test_the_network_is_made_ready_for_all_that_is_asked_in_a_week(camera):
    """A question that comes for the first time at six in the morning must not wait for a compiler."""
    network = SimpleNamespace(parts=FIRE)
    assert set(_questions(network, [camera])) == {FIRE, FIRE | COUNT}


def test_a_claim_that_is_not_watched_any_more_is_not_urgent(camera):
    """Its camera takes turns like the others until the zone's times begin again."""
    one = Watched(SimpleNamespace(camera=camera), feed=None)
    for stage, claims in ((Stage.OPENED, {"f"}), (Stage.UNSEEN, set()), (Stage.UPDATED, {"f"}), (Stage.ENDED, set())):  # fmt: skip
        one.note(SimpleNamespace(stage=stage, finding_id="f"))
        assert one.claims == claims
