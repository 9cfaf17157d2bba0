# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras of a file, one by one: each is one that can be taken, or has the reason why not. CSV and YAML alike."""

from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from events.registry import too_large
from gridwatch.app.cameras import CameraFields, unset_variables
from gridwatch.app.csv_cameras import NO_CRS, CsvLine, read_csv
from gridwatch.app.presets import NOTHING_ENABLED, preset_zones
from gridwatch.app.register import Unserved, fields_of, unserved_of
from gridwatch.app.yaml_border import load_yaml
from gridwatch.core.errors import InputError

MOST_LINES: Final = 20_000
ZONES_REPLACED: Final = "its drawn zones are replaced: what the line says is looked for in the whole picture"
_NORTHERN_DEG: Final = 60.0  # few cities lie beyond
Told = Callable[[int, int], None]  # lines done, of how many


@dataclass(frozen=True, slots=True)
class CameraLine:
    """One camera of a file.

    Attributes:
        number: 1-based line on which it stands.
        camera_id: "" where it has none.
        fields: what it says; None where it cannot be taken.
        problem: why it cannot be taken; "" where it can.
        notes: what a person should know of one that can be taken.
    """

    number: int
    camera_id: str
    fields: CameraFields | None
    problem: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CameraLines:
    """A file: its cameras.

    Attributes:
        unread: the headings of a CSV that mean nothing here.
        columns: those that a CSV has; None where each camera says all that there is to say of it.
    """

    lines: Sequence[CameraLine]
    unread: Sequence[str] = ()
    columns: frozenset[str] | None = None

    @property
    def taken(self) -> list[CameraLine]:
        """The cameras that can be taken."""
        return [line for line in self.lines if line.fields is not None]

    @property
    def refused(self) -> list[CameraLine]:
        """The others."""
        return [line for line in self.lines if line.fields is None]

    def documents(self) -> dict[str, dict[str, Any]]:
        """Return what can be taken, as the register keeps it, by camera id."""
        return {line.camera_id: line.fields.document() for line in self.lines if line.fields is not None}

    def upon(self, known: Mapping[str, Mapping[str, Any]]) -> "CameraLines":
        """Return the lines with what a CSV has no column for as it is in the register: it says nothing of that.

        Args:
            known: the register's documents, by camera id.
        """
        if self.columns is None:
            return self
        lines = [_upon(line, known.get(line.camera_id), self.columns) for line in self.lines]
        return replace(self, lines=lines)

    def served(self, unserved: Unserved) -> "CameraLines":
        """Return the lines; one that is to be watched and that the network cannot serve is not taken.

        Args:
            unserved: tells why the network cannot serve a camera.
        """
        return replace(self, lines=[_if_served(line, unserved) for line in self.lines])

    def unset(self) -> list[str]:
        """Return the variables that are needed and not set in this environment, each once."""
        needed = (
            variable for line in self.taken if line.fields for _, variable in unset_variables(line.fields)
        )
        return list(dict.fromkeys(needed))


def read_lines(file: Path, told: Told = lambda _done, _total: None) -> CameraLines:
    """Read the cameras of a .csv, .yaml or .yml file.

    Raises:
        InputError: it can't be read at all, or has too many lines.
    """
    if file.suffix.lower() == ".csv":
        csv_file = read_csv(file)
        lines, unread, columns = csv_file.lines, csv_file.unread, csv_file.columns
    elif file.suffix.lower() in (".yaml", ".yml"):
        lines, unread, columns = _yaml_lines(file), (), None
    else:
        raise InputError("is neither .csv, .yaml nor .yml", file=file)
    if len(lines) > MOST_LINES:
        raise InputError(
            f"has {len(lines)} cameras; {MOST_LINES} are the most that one machine takes", file=file
        )
    seen: dict[str, int] = {}
    found: list[CameraLine] = []
    for done, line in enumerate(lines, 1):
        found.append(_checked(line, seen))
        told(done, len(lines))
    return CameraLines(found, unread, columns)


def _yaml_lines(file: Path) -> list[CsvLine]:
    document = load_yaml(file)
    data = document.data
    listed = data.get("cameras") if isinstance(data, Mapping) else None
    if not isinstance(listed, list):
        raise InputError("has no list `cameras`", file=file, line=1)
    strange = sorted(str(name) for name in data if name != "cameras")
    if strange:
        raise InputError(
            f"unknown field {strange[0]!r} beside `cameras`", file=file, line=document.line_of((strange[0],))
        )
    return [
        CsvLine(document.line_of(("cameras", index)) or 1, one if isinstance(one, Mapping) else {})
        for index, one in enumerate(listed)
    ]


def _checked(line: CsvLine, seen: dict[str, int]) -> CameraLine:
    given = line.document.get("id")
    camera_id = given if isinstance(given, str) else ""
    if line.problem:
        return CameraLine(line.number, camera_id, None, line.problem)
    fields, problem = _usable(line.document)
    if fields is None:
        return CameraLine(line.number, camera_id, None, problem)
    if camera_id in seen:
        return CameraLine(line.number, camera_id, None, f"the id stands in line {seen[camera_id]} already")
    seen[camera_id] = line.number
    return CameraLine(line.number, camera_id, fields, notes=(*line.notes, *_notes(fields)))


def _usable(document: Mapping[str, Any]) -> tuple[CameraFields | None, str]:
    fields, problem = fields_of(document)
    if fields is not None and (problem := too_large(fields.document())):
        return None, problem
    return fields, problem


def _if_served(line: CameraLine, unserved: Unserved) -> CameraLine:
    problem = "" if line.fields is None else unserved_of(line.fields, unserved)
    return replace(line, fields=None, problem=problem) if problem else line


def _upon(line: CameraLine, known: Mapping[str, Any] | None, columns: AbstractSet[str]) -> CameraLine:
    if line.fields is None or known is None:
        return line
    own, said = _notes(line.fields), line.fields.document()
    merged = _merged(known, said, columns)
    if "zones" in known.keys() - merged.keys():
        line = replace(line, notes=(*line.notes, ZONES_REPLACED))
    if merged == said:
        return line
    fields, problem = _usable(merged)
    if fields is None:
        return replace(line, fields=None, problem=f"with what the register has beside it: {problem}")
    stale = {*own, NO_CRS} if "crs" in merged.get("location", {}) else {*own}
    notes = (*(note for note in line.notes if note not in stale), *_notes(fields))
    return replace(line, fields=fields, notes=notes)


def _merged(known: Mapping[str, Any], said: Mapping[str, Any], columns: AbstractSet[str]) -> dict[str, Any]:
    """Return what a line and the register say together.

    Drawn zones stay unless the line speaks of what is looked for, or the place is another one. An empty cell does not: it
    is what an export has in the line of a camera with drawn zones.
    """
    spoken = set(columns)
    if spoken & {"lon", "lat"}:
        spoken.add("location")
    merged = {name: value for name, value in known.items() if name not in spoken} | dict(said)
    if said.keys() & {"kinds", "crowd_limit", "active"} or _place(merged) != _place(known):
        merged.pop("zones", None)
    if "location" in said:
        beside = {name: value for name, value in known.get("location", {}).items() if name not in spoken}
        merged["location"] = beside | said["location"]
    return merged


def _place(document: Mapping[str, Any]) -> str:
    return str(document.get("place", CameraFields.model_fields["place"].default))


def _notes(fields: CameraFields) -> list[str]:
    notes = []
    if fields.zones is None and not preset_zones(fields.place, fields.kinds):
        notes.append(f"{fields.place}: {NOTHING_ENABLED}")
    at = fields.location
    if at is not None and abs(at.lat) > _NORTHERN_DEG:
        notes.append(f"lon {at.lon:g} and lat {at.lat:g}: are they the wrong way round?")
    return notes
