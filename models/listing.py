# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `gridwatch models list` and `gridwatch models verify` show. Prints nothing itself."""

from dataclasses import dataclass
from pathlib import Path

from models.catalogue import Catalogue, Entry
from models.errors import WeightsError


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """One network of a catalogue.

    Attributes:
        is_default: whether it is the one that runs unless another is named.
        size_bytes: of the file; None where it is missing.
    """

    name: str
    is_default: bool
    title: str
    licence: str
    source: str
    classes: tuple[str, ...]
    file: Path
    size_bytes: int | None
    sha256: str


@dataclass(frozen=True, slots=True)
class VerifiedRow:
    """Whether one network's file is the one that the catalogue means; `problem` is None if it is."""

    name: str
    file: Path
    problem: str | None


def list_networks(catalogue: Catalogue) -> tuple[NetworkRow, ...]:
    """Return every network, in the catalogue's order, without reading the files."""
    return tuple(_row(catalogue, entry) for entry in catalogue.entries)


def verify_networks(catalogue: Catalogue, name: str | None = None) -> tuple[VerifiedRow, ...]:
    """Read and hash the file of every network, or of the one called `name`.

    Raises:
        WeightsError: no network is called that.
    """
    entries = catalogue.entries if name is None else (catalogue.entry(name),)
    return tuple(
        VerifiedRow(entry.name, catalogue.path_of(entry), _problem(catalogue, entry)) for entry in entries
    )


def _row(catalogue: Catalogue, entry: Entry) -> NetworkRow:
    file = catalogue.path_of(entry)
    return NetworkRow(
        entry.name,
        entry.name == catalogue.default,
        entry.title,
        entry.licence,
        entry.source,
        tuple(entry.classes),
        file,
        file.stat().st_size if file.is_file() else None,
        entry.sha256,
    )


def _problem(catalogue: Catalogue, entry: Entry) -> str | None:
    try:
        catalogue.verify(entry)
    except WeightsError as error:
        return str(error)
    return None
