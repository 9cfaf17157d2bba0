# SPDX-License-Identifier: AGPL-3.0-or-later
"""What `gridwatch models list` and `gridwatch models verify` show. Prints nothing itself."""

from dataclasses import dataclass
from pathlib import Path

from models.backends.choose import Asked, expected_plan, fitting_plans, kept_timings, survey
from models.backends.onnx_external import NotWholeError, refuse_external
from models.catalogue import Catalogue, Entry, Form
from models.errors import WeightsError

NOT_ASKED = "fits, where gridwatch.yaml asks for it (models: backend, precision, device)"


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """One network of a catalogue.

    Attributes:
        is_default: whether it is the one that runs unless another is named.
        files: of all its forms.
        size_bytes: of all files; None where one is missing.
        sha256: of its ONNX file.
    """

    name: str
    is_default: bool
    title: str
    licence: str
    source: str
    classes: tuple[str, ...]
    files: tuple[Path, ...]
    size_bytes: int | None
    sha256: str


@dataclass(frozen=True, slots=True)
class BackendRow:
    """One way to compute a network on this machine.

    Attributes:
        plan: back end, precision and device, as a phrase.
        problem: why it cannot run here or is not considered; empty if it is.
        ms: of one look, where it was timed at an earlier start.
        is_chosen: whether it is the one that runs; where several fit and none was timed yet, the first start decides.
    """

    plan: str
    problem: str
    ms: float | None
    is_chosen: bool


@dataclass(frozen=True, slots=True)
class VerifiedRow:
    """Whether one network's files are those that the catalogue means; `problem` is None if they are."""

    name: str
    files: tuple[Path, ...]
    problem: str | None


def list_networks(catalogue: Catalogue) -> tuple[NetworkRow, ...]:
    """Return every network, in the catalogue's order, without reading the files."""
    return tuple(_row(catalogue, entry) for entry in catalogue.entries)


def verify_networks(catalogue: Catalogue, name: str | None = None) -> tuple[VerifiedRow, ...]:
    """Read and hash the files of every network, or of the one called `name`; weights in yet other files are a problem.

    Raises:
        WeightsError: no network is called that.
    """
    entries = catalogue.entries if name is None else (catalogue.entry(name),)
    return tuple(
        VerifiedRow(entry.name, _files(catalogue, entry), _problem(catalogue, entry)) for entry in entries
    )


def list_backends(entry: Entry, asked: Asked, state_dir: Path | None = None) -> tuple[BackendRow, ...]:
    """Return every way to compute a network here, in the order of preference; nothing is timed.

    Args:
        entry: the network.
        asked: what the settings ask for.
        state_dir: where timings are kept, if anywhere.

    Raises:
        BackendError: what is asked for is unknown, or not to be had here.
    """
    candidates = survey(entry)
    fitting = fitting_plans(candidates, asked, entry)
    ms = kept_timings(entry, fitting, state_dir)
    chosen = expected_plan(fitting, ms)
    return tuple(
        BackendRow(
            str(each.plan),
            each.problem or ("" if each.plan in fitting else NOT_ASKED),
            ms.get(str(each.plan)),
            is_chosen=each.plan == chosen,
        )
        for each in candidates
    )


def _row(catalogue: Catalogue, entry: Entry) -> NetworkRow:
    files = _files(catalogue, entry)
    return NetworkRow(
        entry.name,
        entry.name == catalogue.default,
        entry.title,
        entry.licence,
        entry.source,
        tuple(entry.classes),
        files,
        sum(file.stat().st_size for file in files) if all(file.is_file() for file in files) else None,
        entry.forms.onnx.sha256,
    )


def _files(catalogue: Catalogue, entry: Entry) -> tuple[Path, ...]:
    return tuple(path for form in Form for path in catalogue.paths_of(entry, form))


def _problem(catalogue: Catalogue, entry: Entry) -> str | None:
    try:
        catalogue.verify(entry)
        refuse_external(*catalogue.read(entry, Form.ONNX))
    except (WeightsError, NotWholeError) as error:
        return str(error)
    return None
