# SPDX-License-Identifier: AGPL-3.0-or-later
"""The grids of a township as polygons, and which one a place lies in. A place in another datum lies in none."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from shapely import STRtree
from shapely.errors import ShapelyError
from shapely.geometry import Point, shape
from shapely.geometry.base import BaseGeometry
from shapely.validation import explain_validity

from gridwatch.core.camera import Location
from gridwatch.core.errors import InputError

LOCATED_CRS = frozenset(
    {"WGS84", "CGCS2000"}
)  # equal within decimetres; GCJ02 and BD09 are shifted by up to 700 m
_OPTIONAL_TEXTS = ("division_code", "street_code", "community_code", "version")
_FEATURE = re.compile(r'"type"\s*:\s*"Feature"')


@dataclass(frozen=True, slots=True)
class Grid:
    """One grid of one version of the grid set.

    `units` maps a category code, a kind or "default" to the unit that is usually responsible here.
    """

    grid_id: str
    name: str
    division_code: str | None = None
    street_code: str | None = None
    community_code: str | None = None
    version: str = ""
    units: Mapping[str, str] = field(default_factory=dict)


class Grids:
    """A set of grids, found by place."""

    def __init__(self, areas: Iterable[tuple[Grid, BaseGeometry]]) -> None:
        pairs = list(areas)
        self._grids = [grid for grid, _ in pairs]
        self._areas = [area.area for _, area in pairs]
        self._tree = STRtree([area for _, area in pairs])

    @classmethod
    def none(cls) -> "Grids":
        """Return an empty set: every place is in no grid."""
        return cls(())

    @classmethod
    def load(cls, path: Path) -> "Grids":
        """Read a GeoJSON FeatureCollection of polygons (RFC 7946; longitude, latitude in WGS84 or CGCS2000).

        Raises:
            InputError: the file cannot be used; names the file and, as well as it can, the line.
        """
        try:
            text = path.read_text(encoding="utf-8")
            document = json.loads(text)
        except json.JSONDecodeError as error:
            raise InputError(f"not JSON: {error.msg}", file=path, line=error.lineno) from error
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"cannot be read: {error}", file=path) from error
        return cls(_Reading(path, text).features(document))

    def __len__(self) -> int:
        return len(self._grids)

    def all(self) -> tuple[Grid, ...]:
        """Return every grid, in the file's order."""
        return tuple(self._grids)

    def locate(self, location: Location | None) -> Grid | None:
        """Return the grid in which `location` lies, the smallest where several overlap; None if none or unknown."""
        if location is None or location.crs not in LOCATED_CRS:
            return None
        hits = self._tree.query(Point(location.lon, location.lat), predicate="intersects")
        if len(hits) == 0:
            return None
        best = min((int(hit) for hit in hits), key=lambda hit: (self._areas[hit], self._grids[hit].grid_id))
        return self._grids[best]


class _Reading:
    """One file being read; knows where a feature stands in it."""

    def __init__(self, path: Path, text: str) -> None:
        self._path, self._text = path, text
        self._index = 0

    def features(self, document: Any) -> list[tuple[Grid, BaseGeometry]]:
        if not isinstance(document, dict) or document.get("type") != "FeatureCollection":
            raise InputError("expected a GeoJSON FeatureCollection", file=self._path, line=1)
        features = document.get("features")
        if not isinstance(features, list):
            raise InputError("the FeatureCollection has no list of features", file=self._path, line=1)
        found: dict[str, tuple[Grid, BaseGeometry]] = {}
        for self._index, feature in enumerate(features):
            grid = self._grid(feature)
            if grid.grid_id in found:
                raise self._wrong(f"grid_id {grid.grid_id!r} stands there twice")
            found[grid.grid_id] = grid, self._area(feature)
        return list(found.values())

    def _grid(self, feature: Any) -> Grid:
        properties = feature.get("properties") if isinstance(feature, dict) else None
        if not isinstance(properties, dict):
            raise self._wrong("a feature needs properties with grid_id and name")
        for key in ("grid_id", "name"):
            if not isinstance(properties.get(key), str) or not properties[key]:
                raise self._wrong(f"property {key!r} must be a text that is not empty")
        texts = {key: properties.get(key) for key in _OPTIONAL_TEXTS}
        for key, value in texts.items():
            if value is not None and not isinstance(value, str):
                raise self._wrong(
                    f"property {key!r} must be a text (codes keep their leading zeros), got {value!r}"
                )
        units = properties.get("units") or {}
        if not isinstance(units, dict) or not all(isinstance(value, str) for value in units.values()):
            raise self._wrong("property 'units' must map a category, a kind or 'default' to a unit's name")
        version = texts.pop("version") or ""
        return Grid(properties["grid_id"], properties["name"], **texts, version=version, units=units)

    def _area(self, feature: Mapping[str, Any]) -> BaseGeometry:
        geometry = feature.get("geometry")
        if not isinstance(geometry, dict) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
            raise self._wrong("a grid's geometry must be a Polygon or MultiPolygon")
        try:
            area = shape(geometry)
        except (ShapelyError, ValueError, TypeError, KeyError, IndexError) as error:
            raise self._wrong(f"the polygon cannot be read: {error}") from error
        if area.is_empty or not area.is_valid:
            raise self._wrong(f"the polygon is not usable: {explain_validity(area)}")
        west, south, east, north = area.bounds
        if west < -180 or east > 180 or south < -90 or north > 90:  # noqa: PLR2004  degrees
            raise self._wrong("coordinates are [longitude, latitude] in degrees; these lie outside the globe")
        return area

    def _wrong(self, problem: str) -> InputError:
        places = list(_FEATURE.finditer(self._text))
        line = None
        if self._index < len(places):
            line = self._text.count("\n", 0, places[self._index].start()) + 1
        return InputError(f"feature {self._index + 1}: {problem}", file=self._path, line=line)
