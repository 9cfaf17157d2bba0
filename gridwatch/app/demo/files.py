# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writes the demo's configuration: the same three files that a real system has, readable afterwards as an example."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gridwatch.app.addresses import with_named_password

FIRST_LON, FIRST_LAT = 103.8800, 30.8100  # a made-up place near a real town; degrees, WGS 84
STEP_DEG = 0.0020  # about 200 m: each camera stands in a grid of its own


def write_configuration(
    folder: Path, cameras: Sequence[Mapping[str, Any]], *, port: int, threads: int
) -> Path:
    """Write gridwatch.yaml, cameras.yaml and grids.geojson into `folder`; passwords go into this process's environment.

    Args:
        cameras: id, name, url and zones as cameras.yaml has them.
        port: of the API and console.
        threads: looks at the same time.

    Returns:
        The path of gridwatch.yaml.
    """
    placed = [
        dict(camera)
        | {"url": with_named_password(str(camera["url"]), f"GRIDWATCH_DEMO_PASSWORD_{index + 1}")}
        | _place(index)
        for index, camera in enumerate(cameras)
    ]
    _write_yaml(folder / "cameras.yaml", {"cameras": placed})
    grids = {"type": "FeatureCollection", "features": [_grid(index) for index in range(len(cameras))]}
    (folder / "grids.geojson").write_text(json.dumps(grids, ensure_ascii=False, indent=1), encoding="utf-8")
    settings = {
        "state": "state",
        "cameras": "cameras.yaml",
        "grids": "grids.geojson",
        "api": {"port": port},
        "models": {"threads": threads},
    }
    _write_yaml(folder / "gridwatch.yaml", settings)
    return folder / "gridwatch.yaml"


def _place(index: int) -> dict[str, Any]:
    lon, lat = round(FIRST_LON + STEP_DEG * index, 4), FIRST_LAT
    return {"location": {"lon": lon, "lat": lat}, "address": f"示范街 {index + 1} 号"}


def _grid(index: int) -> dict[str, Any]:
    west, south = FIRST_LON + STEP_DEG * (index - 0.5), FIRST_LAT - STEP_DEG / 2
    east, north = west + STEP_DEG, south + STEP_DEG
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    properties = {
        "grid_id": f"510117004003{index + 1:03d}",
        "name": f"第{index + 1}网格",
        "division_code": "510117",
        "street_code": "510117004",
        "community_code": "510117004003",
        "version": "demo-1",
    }
    return {
        "type": "Feature",
        "properties": properties,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def _write_yaml(file: Path, data: Mapping[str, Any]) -> None:
    file.write_text(yaml.safe_dump(dict(data), allow_unicode=True, sort_keys=False), encoding="utf-8")
