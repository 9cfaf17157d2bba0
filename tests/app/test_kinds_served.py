# SPDX-License-Identifier: AGPL-3.0-or-later
"""Zones that a network cannot serve: said before anything runs, by every command that hears of such a camera."""

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gridwatch.app.cameras_cli import cameras
from gridwatch.app.check import check_all
from gridwatch.app.cli import main
from gridwatch.app.engine import kinds_served, open_network, why_unserved
from gridwatch.app.settings import ModelSettings
from gridwatch.app.wiring import _questions
from gridwatch.core.camera import Camera, Watch
from gridwatch.core.detections import ObjectClass, Part
from gridwatch.core.errors import InputError
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone
from models.catalogue import Catalogue, HeadSpec, written

FIRE, PEOPLE = ["fire", None], ["person", None, "car", None, None, None]
CARS = [None, None, "car", None, None, "truck"]
WEIGHTS = Path(__file__).parents[2] / "models" / "weights"


def camera(*kinds):
    return Camera("c1", "门", SecretUrl("rtsp://h/1"), (Zone("all", frozenset(kinds)),))


def entry(density=True, **heads):
    """Return the entry of the network that ships, with other names for its columns."""
    own = Catalogue.load().entry()
    update = {"heads": [HeadSpec(output=name, classes=classes) for name, classes in heads.items()]}
    return own.model_copy(update=update if density else update | {"density": None})


@pytest.mark.parametrize(
    ("told", "served"),
    [
        (entry(people=PEOPLE, density=False), {Kind.CROWD, Kind.TRAFFIC}),
        (entry(people=CARS, fire=FIRE, density=False), {Kind.TRAFFIC, Kind.FIRE}),
        (entry(people=CARS), {Kind.CROWD, Kind.TRAFFIC}),
        (
            entry(fire=[None, "smoke"], people=["person", *[None] * 5], density=False),
            {Kind.SMOKE, Kind.CROWD},
        ),
        (entry(people=[None, "bicycle", *[None] * 4], density=False), set()),
        (entry(fire=FIRE), {Kind.FIRE}),
        (Catalogue.load().entry(), set(Kind)),
    ],
    ids=[
        "persons, cars",
        "cars, fire",
        "cars, density",
        "smoke, persons",
        "bicycles",
        "fire, density",
        "own",
    ],
)
def test_a_kind_is_served_by_its_own_classes(told, served):
    """Fire by fire, smoke by smoke, a crowd by persons or the density, traffic by any vehicle; a part says too little."""
    assert kinds_served(told.tells, told.parts) == served


def test_a_density_beside_no_boxes_of_people_would_never_answer():
    """So a crowd is not taken to be served by it: the network refuses the question that its zones ask."""
    assert Kind.CROWD not in kinds_served(frozenset({ObjectClass.FIRE}), frozenset({Part.FIRE, Part.CROWD}))


def test_a_camera_that_asks_for_what_the_network_does_not_tell_is_told_of():
    """A network without smoke must not stand for "no smoke", though it tells fire; what is missing is named."""
    network = open_network(ModelSettings(threads=1))
    network._entry = entry(people=PEOPLE, fire=FIRE, density=False)
    assert network.classes == {ObjectClass.PERSON, ObjectClass.CAR, ObjectClass.FIRE}
    served = kinds_served(network.classes, network.parts)
    for kind in (Kind.CROWD, Kind.TRAFFIC, Kind.FIRE):
        assert why_unserved(served, camera(kind)) == ""
    assert why_unserved(served, camera(Kind.FIRE, Kind.SMOKE)) == "the network does not tell smoke"


def test_a_network_is_made_ready_for_what_will_be_asked_and_for_nothing_else():
    """A question that it cannot answer, of a camera that is off for that, would count as a device that is lost."""
    network = open_network(ModelSettings(threads=1))
    network._entry = entry(fire=FIRE, density=False)
    off = replace(camera(Kind.TRAFFIC), watch=Watch.OFF)
    assert _questions(network, [camera(Kind.FIRE), off]) == [{Part.FIRE}]


@pytest.fixture
def configuration(tmp_path):
    """A configuration whose network tells persons, cars and fire, with a camera of the default zones (fire, smoke)."""
    (tmp_path / "weights").symlink_to(WEIGHTS)
    own = entry(people=PEOPLE, fire=FIRE)
    (tmp_path / "catalogue.yaml").write_text(written(own.name, [own]), "utf-8")
    (tmp_path / "cameras.yaml").write_text("cameras:\n  - {id: yard, url: 'rtsp://h/x'}\n", "utf-8")
    config = tmp_path / "gridwatch.yaml"
    config.write_text("models: {catalogue: catalogue.yaml}\n", "utf-8")
    return config


def test_check_says_it_with_the_cameras_id(configuration, monkeypatch, capsys):
    """Exit code 2: `run` would watch all the others, and this camera would be off."""
    said = "camera yard: the network does not tell smoke: take another network or other zones"
    with pytest.raises(InputError) as caught:
        check_all(configuration)
    assert str(caught.value) == said
    monkeypatch.setattr("sys.argv", ["gridwatch", "check", str(configuration)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_check_passes_what_is_served(configuration):
    """The same network with a zone for fire alone."""
    zones = "zones: [{id: z, kinds: [fire]}]"
    (configuration.parent / "cameras.yaml").write_text(
        f"cameras:\n  - {{id: yard, url: 'rtsp://h/x', {zones}}}\n", "utf-8"
    )
    assert check_all(configuration) == (1, 1, 0)


@pytest.fixture
def registered(configuration):
    """The same network, and no file: a CSV of two cameras, of which it can serve one, imported by an older gridwatch."""
    (configuration.parent / "cameras.yaml").unlink()
    rows = configuration.parent / "list.csv"
    rows.write_text(
        "id,url,kinds,password,user\ngate,rtsp://h/1,fire,${NOT_SET},u\nlane,rtsp://h/2,smoke,,\n"
    )
    return rows


def cameras_command(command, configuration, *arguments):
    return CliRunner().invoke(cameras, [command, *map(str, arguments), "-c", str(configuration)])


def test_an_import_takes_no_camera_that_the_network_cannot_serve(configuration, registered):
    """The line says why; the others are taken. A camera that is not to be watched may wait for another network."""
    ended = cameras_command("import", configuration, registered)
    assert ended.exit_code == 1
    assert "list.csv:3: lane: not taken: the network does not tell smoke" in ended.stdout
    assert "2 cameras: 1 taken, 1 not" in ended.stdout
    assert "lane: not taken" in cameras_command("check", configuration, registered).stdout
    off = registered.with_name("off.csv")
    off.write_text("id,url,kinds,watch\nlane,rtsp://h/2,smoke,off\n")
    assert cameras_command("import", configuration, off).exit_code == 0


def test_a_register_with_a_camera_that_is_not_served_is_told_of_by_every_check(configuration, registered):
    """It came in while another network was configured; no file names it."""
    own = configuration.read_text()
    configuration.write_text("{}\n")
    assert cameras_command("import", configuration, registered).exit_code == 0
    configuration.write_text(own)
    assert "lane: the network does not tell smoke" in cameras_command("check", configuration).stdout
    (lane,) = [
        line
        for line in cameras_command("list", configuration).stdout.splitlines()
        if line.startswith("lane\t")
    ]
    assert "\toff: the network does not tell smoke\t" in lane
    with pytest.raises(InputError) as caught:
        check_all(configuration)
    assert str(caught.value) == (
        "camera lane: the network does not tell smoke: take another network or other zones"
    )
