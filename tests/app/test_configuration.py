# SPDX-License-Identifier: AGPL-3.0-or-later
"""Wrong input ends in one clear sentence with file and line, and exit code 2."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote, urlsplit

import pytest
from typer.testing import CliRunner

from gridwatch.app import run
from gridwatch.app.cameras import load_cameras
from gridwatch.app.cli import app
from gridwatch.app.settings import load_settings
from gridwatch.app.yaml_border import ConfigError
from gridwatch.core.errors import InputError
from gridwatch.core.zone import Kind


def written(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return file


def test_a_camera_is_read_whole(tmp_path, monkeypatch):
    """Credentials come from the environment; a zone carries its limits."""
    monkeypatch.setenv("CAM_PASSWORD", "S3cret")
    file = written(
        tmp_path,
        "cameras.yaml",
        """
cameras:
  - id: "51011704001320000017"
    name: 社区广场
    url: rtsp://admin:${CAM_PASSWORD}@192.0.2.5/ch1
    place: square
    location: {lon: 103.88, lat: 30.81}
    address: 示范街 1 号
    zones:
      - {id: plaza, kinds: [crowd], purpose: 承载量 50 人, polygon: [[0, 0.5], [1, 0.5], [1, 1]], crowd: {limit: 50, dwell_s: 20}}
  - {id: b, url: rtsp://192.0.2.6/ch1}
""",
    )
    first, second = load_cameras(file)
    assert first.url.reveal() == "rtsp://admin:S3cret@192.0.2.5/ch1"
    assert "S3cret" not in repr(first)
    assert first.zones_for(Kind.CROWD)[0].crowd.limit == 50
    assert first.location is not None
    assert first.location.crs == "WGS84"
    assert [zone.kinds for zone in second.zones] == [frozenset({Kind.FIRE, Kind.SMOKE})]


@pytest.mark.parametrize(
    ("text", "line", "part"),
    [
        ("cameras: [\n", 2, "is not valid YAML"),
        (
            "cameras:\n  - id: a\n    url: rtsp://h/x\n    zonse: []\n",
            4,
            "unknown field 'zonse'; did you mean 'zones'?",
        ),
        (
            (
                "cameras:\n  - id: a\n    url: rtsp://h/x\n    zones:\n      - id: z\n        kinds: [fire]\n"
                "        polygon: [[0, 0], [1.5, 0], [1, 1]]\n"
            ),
            7,
            "outside 0 to 1",
        ),
        ("cameras:\n  - id: a\n    url: http://h/x\n", 3, "must begin with rtsp://"),
        ("cameras:\n  - id: a\n    url: rtsp://${NOT_SET_ANYWHERE}@h/x\n", 3, "NOT_SET_ANYWHERE is not set"),
        ("cameras:\n  - url: rtsp://h/x\n", 2, "field 'id' is missing"),
        (
            "cameras:\n  - {id: a, url: 'rtsp://h/x'}\n  - {id: a, url: 'rtsp://h/y'}\n",
            3,
            "used more than once",
        ),
        (
            "cameras:\n  - id: a\n    url: rtsp://h/x\n    zones:\n      - {id: z, kinds: [crowd]}\n",
            5,
            "needs a purpose",
        ),
        ("cameras:\n  - id: a\n    url: rtsp://h/x\n    zones: []\n", 4, "at least 1 item"),
        (
            "cameras:\n  - id: a\n    url: rtsp://h/x\n    zones: [{id: z, kinds: [fire]}, {id: z, kinds: [fire]}]\n",
            4,
            "used more than once in this camera",
        ),
        (
            "cameras:\n  - id: a\n    url: rtsp://h/x\n    zones:\n      - {id: z, kinds: [face]}\n",
            5,
            "'fire', 'smoke', 'crowd' or 'traffic'",
        ),
    ],
)
def test_a_mistake_in_the_cameras_is_named_with_its_line(tmp_path, text, line, part):
    """Each mistake says where it stands and what is wrong."""
    file = written(tmp_path, "cameras.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_cameras(file)
    assert f"{file}:{line}:" in str(caught.value)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("cameras: 2026-13-45\n", "is not valid YAML"),
        ("cameras: \x07\n", "is not valid YAML"),
        ("cameras: !!python/object:os.system []\n", "is not valid YAML"),
        ("? [a, b]\n: 1\n", "is not valid YAML"),
        ("state: a\nstate: b\n", "field 'state' stands here a second time"),
        ("queue: {url: 'http://x'}\n", "redis://"),
        ("queue: {url: 'redis://:${NOT_SET_ANYWHERE}@h'}\n", "NOT_SET_ANYWHERE is not set"),
        ("store: nonsense://x\n", "sqlite:///"),
        ("ingest: {look_every_s: 30}\n", "less than or equal to 8"),
        (
            "evidence: {pre_roll_s: 12, post_roll_s: 9}\n",
            "21 s together, more than ingest.ring_s keeps (20 s)",
        ),
        ("inference: {staleness_s: 2, batch_deadline_ms: 501}\n", "a quarter of staleness_s at most (500 ms"),
    ],
)
def test_a_mistake_in_the_settings_is_one_sentence(tmp_path, text, part):
    """No kind of broken file ends in a traceback."""
    file = written(tmp_path, "g.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    assert str(file) in str(caught.value)
    assert part in str(caught.value)


def test_a_password_of_any_characters_reaches_the_camera_and_nobody_else(tmp_path, monkeypatch):
    """Before the @ a value of the environment is percent-encoded."""
    monkeypatch.setenv("PW", "p@ss/w:o#rd？")
    file = written(tmp_path, "c.yaml", "cameras:\n  - {id: a, url: 'rtsp://admin:${PW}@192.0.2.1:554/x'}\n")
    (camera,) = load_cameras(file)
    assert unquote(urlsplit(camera.url.reveal()).password or "") == "p@ss/w:o#rd？"
    assert camera.url.host == "192.0.2.1:554"
    assert "ss" not in f"{camera.url} {camera.url!r}"


@pytest.mark.parametrize(
    "url", ["rtsp://admin:S3cret＠192.0.2.1/x", "rtsp://admin:S3cret@192.0.2.1:99999/x", "rtsp://"]
)
def test_an_address_that_is_none_is_told_without_its_password(tmp_path, url):
    """Full-width characters of an input method are a usual mistake."""
    file = written(tmp_path, "c.yaml", f"cameras:\n  - id: a\n    url: '{url}'\n")
    with pytest.raises(ConfigError) as caught:
        load_cameras(file)
    assert f"{file}:3:" in str(caught.value)
    assert "S3cret" not in str(caught.value)


def test_every_mistake_is_named_at_once(tmp_path):
    """Nobody mends one mistake to be told of the next."""
    file = written(tmp_path, "g.yaml", "source_id: '12'\napi: {prot: 8000}\nmodels: {threads: 0}\n")
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    assert [problem.line for problem in caught.value.problems] == [1, 2, 3]
    assert "did you mean 'port'?" in str(caught.value)


def test_secrets_of_the_settings_are_not_shown(tmp_path):
    """A queue URL with a password prints as stars."""
    file = written(tmp_path, "g.yaml", "queue: {url: 'redis://:S3cret@h:6379/0'}\n")
    settings, _ = load_settings(file)
    assert "S3cret" not in repr(settings)


def gridwatch(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gridwatch.app.cli", *arguments], capture_output=True, text=True, check=False
    )


def checked(config: Path) -> str:
    """Return what `gridwatch check` complains of, in this process; empty where nothing is wrong."""
    ended = CliRunner().invoke(app, ["check", str(config)])
    assert ended.exception is None or isinstance(ended.exception, InputError)
    return str(ended.exception or "")


def test_check_ends_with_2_and_one_sentence_a_mistake(tmp_path):
    """`gridwatch check` names mistakes of the configuration and of the files that it names."""
    written(tmp_path, "cameras.yaml", "cameras:\n  - id: a\n    url: rtsp://h/x\n    zonse: []\n")
    config = written(tmp_path, "gridwatch.yaml", "models: {network: no-such-network}\n")
    ended = gridwatch("check", str(config))
    assert ended.returncode == 2
    assert "cameras.yaml:4: cameras.0.zonse: unknown field 'zonse'" in ended.stderr
    assert "no-such-network" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_check_names_passwords_that_stand_in_a_file_and_those_that_are_not_set(tmp_path):
    """No file may hold one; one that is named has to be there where it is needed."""
    text = "cameras:\n  - {id: a, url: 'rtsp://u:S3cret@h/1'}\n"
    file = written(tmp_path, "cameras.yaml", text)
    config = written(tmp_path, "gridwatch.yaml", "state: state\n")
    said = checked(config)
    assert "cameras.yaml:2: cameras.0.url: a password stands in it" in said
    assert "S3cret" not in said
    file.write_text(text.replace("S3cret", "${NOT_SET_ANYWHERE}"), "utf-8")
    assert "NOT_SET_ANYWHERE is not set" in checked(config)


def test_check_needs_no_file_of_cameras_where_a_register_may_hold_them(tmp_path):
    """Without a store there must be a file."""
    config = written(tmp_path, "gridwatch.yaml", "state: state\n")
    assert "cannot be read" in checked(config)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "gridwatch.db").touch()
    assert checked(config) == ""


def test_run_with_a_mistake_in_the_cameras_ends_with_2(tmp_path):
    """The parent says so before it starts anything."""
    written(tmp_path, "cameras.yaml", "cameras:\n  - {id: a, url: 'rtsp://h/1', place: moon}\n")
    config = written(tmp_path, "gridwatch.yaml", "state: state\n")
    ended = gridwatch("run", "-c", str(config))
    assert ended.returncode == 2
    assert "cameras.yaml:2: cameras.0.place: input should be 'street'" in ended.stderr
    assert not (tmp_path / "state").exists()


def test_run_with_a_mistake_in_the_cameras_goes_on_where_a_register_may_have_some(tmp_path, monkeypatch):
    """The parent leaves it to its child, which goes on with the register's cameras if there are any."""
    written(tmp_path, "cameras.yaml", "cameras:\n  - {id: a, url: 'rtsp://h/1', place: moon}\n")
    config = written(tmp_path, "gridwatch.yaml", "state: state\nqueue: {url: 'redis://192.0.2.1/0'}\n")
    monkeypatch.setenv(run.QUEUE_URL, "")
    monkeypatch.setattr(run, "Supervisor", lambda *_: SimpleNamespace(run=lambda: 17))
    with pytest.raises(ConfigError):
        run.run_parent(config)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "gridwatch.db").touch()
    assert run.run_parent(config) == 17


def test_run_refuses_any_address_but_loopback(tmp_path):
    """Until there is authentication nobody else may reach the API."""
    written(tmp_path, "cameras.yaml", "cameras: []\n")
    config = written(tmp_path, "gridwatch.yaml", "api: {host: 0.0.0.0}\n")
    ended = gridwatch("run", "-c", str(config))
    assert ended.returncode == 2
    assert "0.0.0.0" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_run_with_unreadable_weights_ends_with_2(tmp_path):
    """Weights that are not what the catalogue says are never loaded."""
    (tmp_path / "weights").mkdir()
    own = (Path(__file__).parents[2] / "models" / "catalogue.yaml").read_text(encoding="utf-8")
    catalogue = written(tmp_path, "catalogue.yaml", own)
    (tmp_path / "weights" / "gridwatch.onnx").write_bytes(b"not a network")
    written(tmp_path, "cameras.yaml", "cameras: []\n")
    config = written(tmp_path, "gridwatch.yaml", f"models: {{catalogue: {catalogue}}}\n")
    assert "weights/gridwatch" in checked(config)
    ended = gridwatch("run", "-c", str(config))
    assert ended.returncode == 2
    assert "weights/gridwatch" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_the_command_has_help_for_every_command():
    """A newcomer finds every command by --help."""
    ended = gridwatch("--help")
    assert ended.returncode == 0
    for name in ("run", "check", "evaluate", "simulate", "case-desk", "models"):
        assert name in ended.stdout
        assert CliRunner().invoke(app, [name, "--help"]).exit_code == 0
