# SPDX-License-Identifier: AGPL-3.0-or-later
"""Grids from GeoJSON: which one a place lies in, and what is said about a file that cannot be used."""

import json

import pytest

from events.grids import Grids
from gridwatch.core.camera import Location
from gridwatch.core.errors import InputError


def square(grid_id, west, south, size, **more):
    ring = [
        [west, south],
        [west + size, south],
        [west + size, south + size],
        [west, south + size],
        [west, south],
    ]
    properties = {"grid_id": grid_id, "name": f"网格{grid_id}", "version": "2026-01"} | more
    return {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def write(tmp_path, *features):
    file = tmp_path / "grids.geojson"
    file.write_text(
        json.dumps({"type": "FeatureCollection", "features": features}, indent=1), encoding="utf-8"
    )
    return file


def test_a_place_is_in_its_grid(tmp_path):
    """The grid is found by polygon, with its codes and units; outside of all there is none."""
    file = write(
        tmp_path,
        square("510117004003012", 103.0, 30.0, 1.0, division_code="510117", units={"fire": "钱库消防站"}),
        square("510117004003013", 104.0, 30.0, 1.0),
    )
    grids = Grids.load(file)
    found = grids.locate(Location(103.5, 30.5))
    assert (found.grid_id, found.division_code, found.version) == ("510117004003012", "510117", "2026-01")
    assert found.units == {"fire": "钱库消防站"}
    assert grids.locate(Location(104.5, 30.5, crs="CGCS2000")).grid_id == "510117004003013"
    assert grids.locate(Location(110.0, 30.5)) is None
    assert len(grids) == len(grids.all()) == 2


@pytest.mark.parametrize("crs", ["GCJ02", "BD09", "", "wgs84?"])
def test_another_datum_is_unknown_not_wgs84(tmp_path, crs):
    """A place in a shifted or unknown datum lies in no grid: a wrong one would send it to the wrong people."""
    grids = Grids.load(write(tmp_path, square("1", 103.0, 30.0, 1.0)))
    assert grids.locate(Location(103.5, 30.5, crs=crs)) is None
    assert grids.locate(None) is None


def test_the_smallest_of_overlapping_grids_wins_and_edges_belong(tmp_path):
    """A dedicated grid inside a general one is the answer; a place on the edge is in it."""
    grids = Grids.load(write(tmp_path, square("general", 103.0, 30.0, 1.0), square("mall", 103.4, 30.4, 0.2)))
    assert grids.locate(Location(103.5, 30.5)).grid_id == "mall"
    assert grids.locate(Location(103.4, 30.5)).grid_id == "mall"
    assert grids.locate(Location(103.0, 30.0)).grid_id == "general"


def test_no_grids_is_no_grid():
    """An installation without grids answers none."""
    assert Grids.none().locate(Location(103.5, 30.5)) is None


BOWTIE = [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"properties": {"name": "x"}}, "grid_id"),
        ({"properties": {"grid_id": 7, "name": "x"}}, "grid_id"),
        ({"properties": {"grid_id": "7", "name": ""}}, "name"),
        ({"properties": {"grid_id": "7", "name": "x", "division_code": 510117}}, "leading zeros"),
        ({"properties": {"grid_id": "7", "name": "x", "units": {"fire": 1}}}, "units"),
        ({"properties": None}, "properties"),
        ({"properties": {"grid_id": "first", "name": "x"}}, "twice"),
        ({"geometry": {"type": "Point", "coordinates": [1, 2]}}, "Polygon"),
        ({"geometry": {"type": "Polygon", "coordinates": BOWTIE}}, "Self-intersection"),
        (
            {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], ["a", 1], [1, 0], [0, 0]]]}},
            "cannot be read",
        ),
        ({"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [0, 300], [1, 0], [0, 0]]]}}, "globe"),
    ],
)
def test_a_wrong_feature_is_named_with_its_line(tmp_path, change, words):
    """The error is one sentence with the file, the line where the feature begins, and what is wrong."""
    file = write(tmp_path, square("first", 0, 0, 1), square("7", 2, 0, 1) | change)
    with pytest.raises(InputError, match=words) as raised:
        Grids.load(file)
    lines = file.read_text(encoding="utf-8").splitlines()
    assert raised.value.file == file
    assert '"type": "Feature"' in lines[raised.value.line - 1]
    assert raised.value.line > 10
    assert "feature 2" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "line"), [("{\n\n,", 3), ("[]", 1), ('{"type":"FeatureCollection"}', 1), ("\udcff", None)]
)
def test_a_file_that_is_no_collection_is_refused(tmp_path, text, line):
    """Broken JSON, another document and unreadable bytes end in InputError."""
    file = tmp_path / "grids.geojson"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError) as raised:
        Grids.load(file)
    assert raised.value.line == line


def test_a_missing_file_is_refused(tmp_path):
    """A file that is not there is named."""
    with pytest.raises(InputError, match=r"nowhere\.geojson"):
        Grids.load(tmp_path / "nowhere.geojson")
