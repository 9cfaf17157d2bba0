# SPDX-License-Identifier: AGPL-3.0-or-later
"""One camera as files and the register describe it, and core's `Camera` made of that. Secrets come from the environment."""

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_serializer

from gridwatch.app.addresses import StreamAddress, address_of, variables_of
from gridwatch.app.presets import NOTHING_ENABLED, PRESETS, Place, preset_zones, schedule_of
from gridwatch.app.yaml_border import ConfigError, Document, Problem, Strict, Where, load_yaml, validate
from gridwatch.core.camera import Camera, EvidenceFrom, Location, Transport, Watch
from gridwatch.core.geometry import WHOLE_PICTURE, polygon_problem
from gridwatch.core.schedule import FORM
from gridwatch.core.zone import CrowdLimit, Kind, TrafficLimit, Zone

CANARY_ID: Final = "gridwatch-canary"  # the test camera, which stands in no file


def _polygon(points: list[list[float]]) -> list[list[float]]:
    problem = polygon_problem(points)
    if problem:
        raise ValueError(problem)
    return points


def _plain(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("must be printable, without a space at either end")
    return text


def _word(value: object) -> object:
    """Return what YAML made a truth value of as the word that was written: `on` and `off` are such words."""
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _times(line: str) -> str:
    schedule_of([line])
    return line


def _in_a_list(value: object) -> object:
    if not isinstance(value, (str, list, tuple)):
        raise ValueError(f"must be text: {FORM}")  # noqa: TRY004  pydantic takes no TypeError for a mistake
    return [value] if isinstance(value, str) else value


TimesText = Annotated[str, Field(max_length=256), AfterValidator(_times)]
ScheduleText = Annotated[list[TimesText], Field(min_length=1, max_length=32), BeforeValidator(_in_a_list)]


class CrowdFields(Strict):
    """Limit of a crowd zone."""

    limit: int = Field(default=50, ge=1)
    """Persons allowed."""
    dwell_s: float = Field(default=30.0, ge=0, le=86_400)
    """Seconds that more may stay."""


class TrafficFields(Strict):
    """Limit of a traffic zone."""

    stopped_dwell_s: float = Field(default=180.0, gt=0, le=86_400)
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
    active: ScheduleText | None = None
    """When it is watched: 22:00-06:00, or mon-fri 07:00-08:30 16:00-18:30; always where nothing is said."""

    @field_serializer("kinds")
    def _in_order(self, kinds: frozenset[Kind]) -> list[str]:
        return sorted(kinds)


class LocationFields(Strict):
    """Where a camera stands."""

    lon: float = Field(ge=-180, le=180, allow_inf_nan=False)
    """Degrees east."""
    lat: float = Field(ge=-90, le=90)
    """Degrees north."""
    crs: Literal["WGS84", "CGCS2000", "GCJ02", "BD09"] = "WGS84"
    """Of these two numbers. A wrong one moves an incident into another grid."""
    accuracy_m: float = Field(default=30.0, gt=0, le=100_000)
    """How far off they may be, metres."""


class CameraFields(Strict):
    """One camera."""

    id: Annotated[str, AfterValidator(_plain)] = Field(min_length=1, max_length=64)
    """Opaque; a 20-digit GB/T 28181 id is usual."""
    name: str = Field(default="", max_length=256)
    """What operators call it."""
    url: StreamAddress
    """rtsp://${USER}:${PASSWORD}@host/path, or {http: URL} or {command: [PROGRAM, …]} that tell it; secrets come from the environment."""
    sub_url: StreamAddress | None = None
    """Its smaller second stream, for looking; the main one serves for everything where nothing is said."""
    evidence: EvidenceFrom = EvidenceFrom.ON_INCIDENT
    """With two streams: main-on-incident, or main-always, which also has the time before an incident from the main one."""
    transport: Transport = Transport.TCP
    """tcp, or udp."""
    recorder: Annotated[str, AfterValidator(_plain)] = Field(default="", max_length=128)
    """The recorder or gateway that it is reached through, where sessions are counted; its host where nothing is said."""
    patrols: bool = False
    """Whether it is a dome that turns by itself."""
    watch: Annotated[Watch, BeforeValidator(_word)] = Watch.ON
    """on, off or maintenance; only the first is connected to."""
    run_mode: Literal["actual", "exercise", "test"] | None = None
    """Of its incidents, where it differs from the machine's: a test camera's is exercise."""
    place: Place = "street"
    """What kind of place it watches; presets what is looked for and the limits."""
    kinds: frozenset[Kind] | None = Field(default=None, min_length=1)
    """fire, smoke, crowd, traffic: what is looked for in the whole picture, instead of what the place presets."""
    crowd_limit: int | None = Field(default=None, ge=1, le=1_000_000)
    """Persons that may be there, instead of what the place presets."""
    active: ScheduleText | None = None
    """When crowds and vehicles are looked for, instead of what the place presets; fire and smoke always are."""
    location: LocationFields | None = None
    address: str = Field(default="", max_length=1024)
    """Where that is, in words."""
    zones: list[ZoneFields] | None = Field(default=None, min_length=1, max_length=64)
    """Where what is looked for; what the place presets, in the whole picture, where nothing is said."""

    @field_serializer("kinds")
    def _in_order(self, kinds: frozenset[Kind] | None) -> list[str] | None:
        return None if kinds is None else sorted(kinds)

    def document(self) -> dict[str, Any]:
        """Return what was said of this camera, and nothing that was not: JSON, for the register and for export."""
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


class CamerasFile(Strict):
    """cameras.yaml."""

    cameras: list[CameraFields]
    """All cameras of this machine."""


def load_cameras(file: Path) -> list[Camera]:
    """Read cameras.yaml.

    Raises:
        ConfigError: with every mistake, each with file and line; a variable of the environment that is not set is one.
    """
    document = load_yaml(file)
    fields = validate(CamerasFile, document)
    problems = [*_twice(fields, document), *_flawed(fields, document)]
    cameras: list[Camera] = []
    for index, one in enumerate(fields.cameras):
        unset = unset_variables(one)
        if unset:
            at = (("cameras", index, unset[0][0]), f"environment variable {unset[0][1]} is not set")
            problems.append(_problem(document, *at))
        elif not problems:
            cameras.append(camera_of(one))
    if problems:
        raise ConfigError(problems)
    return cameras


def load_documents(file: Path) -> dict[str, dict[str, Any]]:
    """Read cameras.yaml as the register takes it: documents by camera id, with secrets named, not read.

    Raises:
        ConfigError: with every mistake, each with file and line.
    """
    document = load_yaml(file)
    fields = validate(CamerasFile, document)
    problems = [*_twice(fields, document), *_flawed(fields, document)]
    if problems:
        raise ConfigError(problems)
    return {one.id: one.document() for one in fields.cameras}


def flaws_of(camera: CameraFields) -> list[tuple[Where, str]]:
    """Return what can only be seen by comparing a camera's fields, each with the place of the field."""
    found: list[tuple[Where, str]] = []
    if camera.id == CANARY_ID:
        found.append((("id",), "is the test camera's own: give this one another id"))
    names = Counter(zone.id for zone in camera.zones or ())
    for number, zone in enumerate(camera.zones or ()):
        if names[zone.id] > 1:
            found.append((("zones", number, "id"), f"{zone.id!r} is used more than once in this camera"))
        if Kind.CROWD in zone.kinds and not zone.purpose:
            found.append((("zones", number), "a crowd zone needs a purpose (its safety reason)"))
    if camera.zones is not None:
        found += [
            ((name,), "is for cameras without zones: say it in the zones")
            for name in ("kinds", "crowd_limit", "active")
            if getattr(camera, name) is not None
        ]
    else:
        found += _preset_flaws(camera)
    return found


def _preset_flaws(camera: CameraFields) -> list[tuple[Where, str]]:
    looked_for = camera.kinds or PRESETS[camera.place].kinds
    found: list[tuple[Where, str]] = []
    if camera.crowd_limit is not None and Kind.CROWD not in looked_for:
        found.append((("crowd_limit",), "crowds are not looked for here; name them in kinds"))
    if camera.active is not None and not looked_for & {Kind.CROWD, Kind.TRAFFIC}:
        text = "is for crowds and vehicles, which are not looked for here; fire and smoke have times in zones only"
        found.append((("active",), text))
    return found


def unset_variables(camera: CameraFields) -> list[tuple[str, str]]:
    """Return (field, variable) of what a camera needs of the environment and does not find there."""
    return [
        (name, variable)
        for name in ("url", "sub_url")
        for variable in variables_of(getattr(camera, name))
        if variable not in os.environ
    ]


def camera_of(fields: CameraFields, unset: str | None = None) -> Camera:
    """Return the camera. One on which nothing is looked for is off, whatever its line says of that.

    Args:
        fields: what was said of it.
        unset: stands for a variable of the environment that is not set; with None that is an error.

    Raises:
        ValueError: a variable of the environment is not set, or with its value an address is none.
    """
    zones = zones_of(fields)
    at = fields.location
    return Camera(
        camera_id=fields.id,
        name=fields.name or fields.id,
        url=address_of(fields.url, unset),
        zones=zones,
        location=Location(at.lon, at.lat, at.crs, accuracy_m=at.accuracy_m) if at else None,
        address_text=fields.address,
        place=fields.place,
        sub_url=None if fields.sub_url is None else address_of(fields.sub_url, unset),
        evidence=fields.evidence,
        transport=fields.transport,
        recorder=fields.recorder,
        patrols=fields.patrols,
        watch=fields.watch if zones else Watch.OFF,
        run_mode=fields.run_mode,
    )


def zones_of(fields: CameraFields) -> tuple[Zone, ...]:
    """Return a camera's zones: those that were drawn, else what its place presets."""
    if fields.zones is None:
        return preset_zones(fields.place, fields.kinds, fields.crowd_limit, fields.active)
    return tuple(_zone(zone) for zone in fields.zones)


def times_of(zones: Sequence[Zone]) -> list[str]:
    """Return what is looked for at times only, one phrase for each zone, such as `crowd 05:00-21:00`."""
    return [f"{' '.join(sorted(zone.kinds))} {zone.active}" for zone in zones if zone.active is not None]


def why_off(camera: Camera) -> str:
    """Return in one phrase why a camera is not watched; empty where it is."""
    if not camera.zones:
        return NOTHING_ENABLED
    return {Watch.ON: "", Watch.OFF: "switched off", Watch.MAINTENANCE: "in maintenance"}[camera.watch]


def _twice(fields: CamerasFile, document: Document) -> list[Problem]:
    uses = Counter(camera.id for camera in fields.cameras)
    return [
        _problem(document, ("cameras", index, "id"), f"{camera.id!r} is used more than once")
        for index, camera in enumerate(fields.cameras)
        if uses[camera.id] > 1
    ]


def _flawed(fields: CamerasFile, document: Document) -> list[Problem]:
    return [
        _problem(document, ("cameras", index, *where), text)
        for index, camera in enumerate(fields.cameras)
        for where, text in flaws_of(camera)
    ]


def _problem(document: Document, where: Where, text: str) -> Problem:
    return Problem(document.file, document.line_of(where), ".".join(map(str, where)), text)


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
        active=schedule_of(fields.active),
    )
