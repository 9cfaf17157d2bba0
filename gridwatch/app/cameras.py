# SPDX-License-Identifier: AGPL-3.0-or-later
"""The cameras of this machine: cameras.yaml, read into core's `Camera`. Credentials come from the environment."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from gridwatch.app.environment import from_environment
from gridwatch.app.yaml_border import ConfigError, Document, Problem, Strict, load_yaml, validate
from gridwatch.core.camera import Camera, Location
from gridwatch.core.geometry import WHOLE_PICTURE, polygon_problem
from gridwatch.core.redact import SecretUrl
from gridwatch.core.zone import CrowdLimit, Kind, TrafficLimit, Zone

_SCHEMES = ("rtsp://", "rtsps://")


def _stream_url(text: str) -> str:
    if not text.startswith(_SCHEMES):
        raise ValueError("must begin with rtsp:// or rtsps:// (`gridwatch simulate` serves clips as cameras)")
    url = from_environment(text)
    if not _is_url(url):  # the sentence must not show the text: it may hold a password
        raise ValueError(
            "is no usable URL: put user and password in ${NAME}, and use plain : and @, not full-width ones"
        )
    return url


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port or 1) > 0 and url.isascii()
    except ValueError:
        return False


def _polygon(points: list[list[float]]) -> list[list[float]]:
    problem = polygon_problem(points)
    if problem:
        raise ValueError(problem)
    return points


class CrowdFields(Strict):
    """Limit of a crowd zone."""

    limit: int = Field(default=50, ge=1)
    """Persons allowed."""
    dwell_s: float = Field(default=30.0, ge=0)
    """Seconds that more may stay."""


class TrafficFields(Strict):
    """Limit of a traffic zone."""

    stopped_dwell_s: float = Field(default=180.0, gt=0)
    """Seconds that a vehicle may stand."""


class ZoneFields(Strict):
    """A part of the picture."""

    id: str = Field(min_length=1)
    """Name of the zone within its camera, never shown to people."""
    kinds: frozenset[Kind] = Field(min_length=1)
    """fire, smoke, crowd, traffic: what is looked for here."""
    name: str = ""
    """What operators call it."""
    purpose: str = ""
    """Why it exists: a safety reason. Needed for crowds."""
    polygon: Annotated[list[list[float]], AfterValidator(_polygon)] | None = None
    """Points [x, y] from 0 to 1, x right, y down; the whole picture where nothing is said."""
    crowd: CrowdFields = CrowdFields()
    traffic: TrafficFields = TrafficFields()


class LocationFields(Strict):
    """Where a camera stands."""

    lon: float = Field(ge=-180, le=180)
    """Degrees east."""
    lat: float = Field(ge=-90, le=90)
    """Degrees north."""
    crs: Literal["WGS84", "CGCS2000", "GCJ02", "BD09"] = "WGS84"
    """Of these two numbers. A wrong one moves an incident into another grid."""
    accuracy_m: float = Field(default=30.0, gt=0)
    """How far off they may be, metres."""


class CameraFields(Strict):
    """One camera."""

    id: str = Field(min_length=1, max_length=64)
    """Opaque; a 20-digit GB/T 28181 id is usual."""
    name: str = ""
    """What operators call it."""
    url: Annotated[str, AfterValidator(_stream_url)]
    """rtsp://${USER}:${PASSWORD}@host/path; secrets come from the environment."""
    place: Literal[
        "street", "market", "square", "school_gate", "road", "fast_road", "forest_edge", "yard"
    ] = "street"
    """What kind of place it watches."""
    location: LocationFields | None = None
    address: str = ""
    """Where that is, in words."""
    zones: list[ZoneFields] | None = Field(default=None, min_length=1)
    """Where what is looked for; fire and smoke in the whole picture where nothing is said."""


class CamerasFile(Strict):
    """cameras.yaml."""

    cameras: list[CameraFields]
    """All cameras of this machine."""


def load_cameras(file: Path) -> list[Camera]:
    """Read cameras.yaml.

    Raises:
        ConfigError: with every mistake, each with file and line.
    """
    document = load_yaml(file)
    fields = validate(CamerasFile, document)
    problems = _across(fields, document)
    if problems:
        raise ConfigError(problems)
    return [_camera(item) for item in fields.cameras]


def _across(fields: CamerasFile, document: Document) -> list[Problem]:
    """Return what can only be seen by comparing: ids used twice, crowd zones without a purpose."""
    found: list[Problem] = []
    uses = Counter(camera.id for camera in fields.cameras)
    for index, camera in enumerate(fields.cameras):
        where: tuple[int | str, ...] = ("cameras", index)
        if uses[camera.id] > 1:
            line = document.line_of((*where, "id"))
            found.append(
                Problem(document.file, line, f"cameras.{index}.id", f"{camera.id!r} is used more than once")
            )
        names = Counter(zone.id for zone in camera.zones or ())
        for number, zone in enumerate(camera.zones or ()):
            if names[zone.id] > 1:
                line = document.line_of((*where, "zones", number, "id"))
                text = f"{zone.id!r} is used more than once in this camera"
                found.append(Problem(document.file, line, f"cameras.{index}.zones.{number}.id", text))
            if Kind.CROWD in zone.kinds and not zone.purpose:
                line = document.line_of((*where, "zones", number))
                text = "a crowd zone needs a purpose (its safety reason)"
                found.append(Problem(document.file, line, f"cameras.{index}.zones.{number}", text))
    return found


def _camera(fields: CameraFields) -> Camera:
    zones = (
        (Zone("picture", frozenset({Kind.FIRE, Kind.SMOKE})),)
        if fields.zones is None
        else tuple(_zone(zone) for zone in fields.zones)
    )
    at = fields.location
    return Camera(
        camera_id=fields.id,
        name=fields.name or fields.id,
        url=SecretUrl(fields.url),
        zones=zones,
        location=Location(at.lon, at.lat, at.crs, accuracy_m=at.accuracy_m) if at else None,
        address_text=fields.address,
        place=fields.place,
    )


def _zone(fields: ZoneFields) -> Zone:
    polygon = tuple((x, y) for x, y in fields.polygon) if fields.polygon else WHOLE_PICTURE
    return Zone(
        zone_id=fields.id,
        kinds=fields.kinds,
        polygon=polygon,
        name=fields.name,
        purpose=fields.purpose,
        crowd=CrowdLimit(fields.crowd.limit, fields.crowd.dwell_s),
        traffic=TrafficLimit(fields.traffic.stopped_dwell_s),
    )
