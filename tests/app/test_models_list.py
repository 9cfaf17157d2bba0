# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `gridwatch models list` and `gridwatch check` say of back ends."""

from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from gridwatch.app.check import check_all
from gridwatch.app.engine import open_network
from gridwatch.app.models_command import list_models, verify_models
from gridwatch.app.settings import ModelSettings, load_settings
from gridwatch.core.errors import InputError
from models.backends.kept import FILE
from models.catalogue import OWN

pytestmark = pytest.mark.usefixtures("_wide")


@pytest.fixture
def own(tmp_path):
    """A catalogue of one's own with two networks, of which the second is its default."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "weights").symlink_to(OWN.parent / "weights")
    fields = yaml.safe_load(OWN.read_text("utf-8"))
    (network,) = fields["networks"]
    fields["networks"] = [{**network, "name": name} for name in ("north", "south")]
    fields["default"] = "south"
    (folder / "catalogue.yaml").write_text(yaml.safe_dump(fields), "utf-8")
    return folder / "catalogue.yaml"


@pytest.fixture
def _wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


def configured(folder: Path, models: str) -> Path:
    (folder / "cameras.yaml").write_text("cameras: []\n", "utf-8")
    (folder / "gridwatch.yaml").write_text(f"models: {models}\n", "utf-8")
    return folder / "gridwatch.yaml"


def row(text: str, plan: str) -> str:
    return next(line for line in text.splitlines() if plan in line)


def test_the_list_names_what_runs_and_why_the_rest_does_not(capsys):
    """Network and back end that run have a star; each other back end has its reason."""
    list_models()
    told = capsys.readouterr().out
    assert "gridwatch *" in told
    assert sum(line.count(" * ") for line in told.splitlines()) == 2
    for library, plan in (("torch", "torch f16 on cuda"), ("onnxruntime", "onnxruntime f32 on cpu")):
        if find_spec(library) is None:
            assert f"{library} is not installed; it comes with the extra '{library}'" in row(told, plan)


def test_the_list_follows_a_configuration(tmp_path, capsys):
    """What the settings ask for runs, and what they exclude says so."""
    list_models(configured(tmp_path, "{backend: openvino, precision: f32}"))
    told = capsys.readouterr().out
    assert "runs" in row(told, "openvino f32 on cpu *")
    assert "times them" not in told


def test_the_list_shows_what_the_first_start_found(tmp_path, capsys):
    """Timings that a start kept in the state folder are shown, without timing again."""
    config = configured(tmp_path, "{threads: 1, device: cpu}")
    open_network(ModelSettings(threads=1, device="cpu"), tmp_path / "run")
    list_models(config)
    told = capsys.readouterr().out
    several = (tmp_path / "run" / FILE).exists()
    assert several == any(
        cell.strip().replace(".", "").isdigit() for cell in row(told, "openvino f32 on cpu").split("│")[2:3]
    )


@pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed here")
def test_a_back_end_that_is_not_there_is_wrong_input(tmp_path, capsys):
    """`check` ends with one sentence, and the list still shows the catalogue."""
    config = configured(tmp_path, "{backend: torch}")
    with pytest.raises(InputError, match=r"cannot run as asked for .*torch is not installed"):
        check_all(config)
    list_models(config)
    assert "torch is not installed" in capsys.readouterr().out


@pytest.mark.parametrize("field", ["backend: tensorrt", "precision: f64", "device: npu"])
def test_a_name_that_nobody_knows_is_named_with_its_line(tmp_path, field):
    """The settings know the words."""
    with pytest.raises(InputError, match=r"gridwatch\.yaml:1: .*models"):
        check_all(configured(tmp_path, f"{{{field}}}"))


def test_verify_names_the_files(capsys):
    """Every file of every form is told."""
    assert verify_models() == 0
    assert "gridwatch: is what the catalogue says (gridwatch.onnx" in capsys.readouterr().out


def test_a_catalogue_s_default_runs_where_no_network_is_named(own, tmp_path, capsys):
    """A configuration that names a catalogue alone means the network which that catalogue prefers, in every command."""
    config = configured(tmp_path, "{catalogue: own/catalogue.yaml, device: cpu}")
    list_models(config)
    assert "south *" in capsys.readouterr().out
    check_all(config)
    assert open_network(load_settings(config)[0].models).name == "south"


def test_a_catalogue_can_be_listed_and_verified_without_a_configuration(own, tmp_path, capsys):
    """`--catalogue` is as good as a configuration that names it, but not beside one."""
    list_models(catalogue=own)
    assert "south *" in capsys.readouterr().out
    assert verify_models(catalogue=own) == 0
    assert "north: is what the catalogue says" in capsys.readouterr().out
    config = configured(tmp_path, "{}")
    for command in (list_models, verify_models):
        with pytest.raises(InputError, match="not both"):
            command(config, own)
