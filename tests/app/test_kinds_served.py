# SPDX-License-Identifier: AGPL-3.0-or-later
"""Zones that a network cannot serve: said before anything runs, by `run` and by `check` in the same words."""

from pathlib import Path

import pytest

from gridwatch.app.check import check_all
from gridwatch.app.cli import main
from gridwatch.app.engine import check_parts, kinds_served, open_network
from gridwatch.app.settings import ModelSettings
from gridwatch.core.camera import Camera
from gridwatch.core.detections import ObjectClass, Part
from gridwatch.core.errors import InputError
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import Kind, Zone
from models.catalogue import Catalogue, HeadSpec, written

FIRE, PEOPLE = ["fire", None], ["person", None, "car", None, None, None]
CARS = [None, None, "car", None, None, "truck"]
WEIGHTS = Path(__file__).parents[2] / "models" / "weights"


def camera(*kinds, name="c1"):
    return Camera(name, "门", SecretUrl("rtsp://h/1"), (Zone("all", frozenset(kinds)),))


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


def test_a_camera_that_asks_for_what_the_network_does_not_tell_is_wrong_input():
    """A network without smoke must not stand for "no smoke", though it tells fire; each camera is named."""
    network = open_network(ModelSettings(threads=1))
    network._entry = entry(people=PEOPLE, fire=FIRE, density=False)
    assert network.classes == {ObjectClass.PERSON, ObjectClass.CAR, ObjectClass.FIRE}
    check_parts(network, [camera(Kind.CROWD), camera(Kind.TRAFFIC), camera(Kind.FIRE)])
    with pytest.raises(InputError) as caught:
        check_parts(network, [camera(Kind.FIRE, Kind.SMOKE), camera(Kind.CROWD, Kind.SMOKE, name="c2")])
    assert [line[:32] for line in str(caught.value).splitlines()] == [
        "camera c1 has zones for smoke, w",
        "camera c2 has zones for smoke, w",
    ]


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


def test_check_says_it_as_run_does(configuration, monkeypatch, capsys):
    """The same sentence, exit code 2."""
    with pytest.raises(InputError) as caught:
        check_all(configuration)
    network = open_network(ModelSettings(threads=1))
    network._entry = entry(people=PEOPLE, fire=FIRE)
    with pytest.raises(InputError) as of_run:
        check_parts(network, [camera(Kind.FIRE, Kind.SMOKE, name="yard")])
    assert str(caught.value) == str(of_run.value)
    monkeypatch.setattr("sys.argv", ["gridwatch", "check", str(configuration)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "camera yard has zones for smoke" in capsys.readouterr().err


def test_check_passes_what_is_served(configuration):
    """The same network with a zone for fire alone."""
    zones = "zones: [{id: z, kinds: [fire]}]"
    (configuration.parent / "cameras.yaml").write_text(
        f"cameras:\n  - {{id: yard, url: 'rtsp://h/x', {zones}}}\n", "utf-8"
    )
    assert check_all(configuration) == (1, 1, 0)
