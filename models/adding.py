# SPDX-License-Identifier: AGPL-3.0-or-later
"""A user's own Ultralytics detector into a catalogue of the user's own.

Everything is read, converted and tried in a scratch folder first; the catalogue is replaced last, so that a failure or a
crash leaves the old one. This distribution's own catalogue is never written.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.catalogue import MOST_BYTES, OWN, Catalogue, Entry, written
from models.converting import to_onnx
from models.detector_onnx import DetectorFacts, listed, map_classes, printable, read_detector
from models.errors import WeightsError
from models.probing import probe
from models.storing import move_all, scratch_in, write

PICKLES = {".pt", ".pth"}
HEADING = (
    "# Written by `gridwatch models add`, which keeps no comments. docs/models.md describes the fields.\n"
)
STEPS = 4  # how often `advance` is called at most
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")
_HASH_DIGITS = 12  # of a file's name, so that a replaced network has files of other names until it is gone
_LICENCE_CHARS, _SOURCE_CHARS, _TITLE_CHARS = 100, 500, 200

Advance = Callable[[str], None]
"""Told the next step, as a phrase, when it begins."""


@dataclass(frozen=True, slots=True)
class AddRequest:
    """What to add, and as what.

    Attributes:
        file: `.onnx`, or `.pt` with `allow_pickle`.
        catalogue: the catalogue file; made if missing.
        name: in the catalogue; the file's name if None.
        sha256: of `file`, hexadecimal; not compared if None.
        classes: from a class of the file to one of ours, or to None; what is not named keeps an equal name.
        allow_pickle: whether the code in a `.pt` may run.
        licence, source: what the catalogue says; the file's own words if None.
        replace: whether a network of that name may be there already.
    """

    file: Path
    catalogue: Path
    name: str | None = None
    sha256: str | None = None
    classes: Mapping[str, str | None] = field(default_factory=dict)
    allow_pickle: bool = False
    licence: str | None = None
    source: str | None = None
    replace: bool = False


@dataclass(frozen=True, slots=True)
class Added:
    """What was added.

    Attributes:
        entry: as it stands in the catalogue.
        sha256: of the file that was given.
        taken: from the file's class to ours.
        unused: the file's other classes.
        device: what it was tried on.
    """

    entry: Entry
    sha256: str
    taken: dict[str, str]
    unused: tuple[str, ...]
    device: str


def add(request: AddRequest, advance: Advance = lambda _: None) -> Added:
    """Check, convert if need be, try and add a detector.

    Raises:
        WeightsError: anything is not as it should be; then nothing was changed.
    """
    name = _name(request)
    if request.catalogue.suffix not in {".yaml", ".yml"}:
        raise WeightsError(
            "a catalogue is a .yaml file; name one, as in models-own/catalogue.yaml", file=request.catalogue
        )
    if request.catalogue.resolve() == OWN.resolve():
        raise WeightsError(
            "the catalogue that comes with gridwatch is not changed; name one of your own",
            file=request.catalogue,
        )
    advance("reading")
    content = _read(request)
    given = hashlib.sha256(content).hexdigest()
    if request.sha256 is not None and request.sha256.lower() != given:
        raise WeightsError(
            f"is another file than the one meant: its SHA-256 is {given}, expected {request.sha256}",
            file=request.file,
        )
    with scratch_in(request.catalogue.parent) as scratch:
        old = Catalogue.load(request.catalogue) if request.catalogue.exists() else None
        if old is not None and not request.replace and any(entry.name == name for entry in old.entries):
            raise WeightsError(
                f"a network called {name!r} is there already; --replace puts this one in its place",
                file=old.file,
            )
        try:
            onnx, facts = _detector(content, request, scratch, advance)
            mapped = map_classes(facts.names, request.classes)
        except WeightsError as error:
            raise WeightsError(error.problem, file=request.file) from error
        made = _Made(request, name, given, onnx, facts, mapped)
        entry, device = _tried(made, scratch, advance)
        advance("writing")
        _store(request.catalogue, old, entry, scratch)
    taken = {theirs: ours for theirs, ours in zip(facts.names, mapped, strict=True) if ours}
    unused = tuple(theirs for theirs, ours in zip(facts.names, mapped, strict=True) if not ours)
    return Added(entry, given, taken, unused, device)


def _name(request: AddRequest) -> str:
    name = request.name or request.file.stem.lower().replace("_", "-").replace(" ", "-")
    if not _NAME.fullmatch(name):
        raise WeightsError(
            f"a network cannot be called {name!r}: 1 to 64 of a to z, 0 to 9, point and hyphen, a letter or digit first; "
            "give one with --name"
        )
    return name


def _read(request: AddRequest) -> bytes:
    suffix = request.file.suffix.lower()
    if suffix in PICKLES and not request.allow_pickle:
        raise WeightsError(
            f"a {suffix} file is a pickle: loading it runs the code that is in it. Export it to ONNX where it was trained, "
            "or give --allow-pickle if you trust whoever made it",
            file=request.file,
        )
    if suffix not in {".onnx", *PICKLES}:
        raise WeightsError("must be an .onnx or a .pt file", file=request.file)
    try:
        if request.file.stat().st_size > MOST_BYTES:
            raise WeightsError("is larger than 1 GiB, which no detector is", file=request.file)
        return request.file.read_bytes()
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror}", file=request.file) from error


def _detector(
    content: bytes, request: AddRequest, scratch: Path, advance: Advance
) -> tuple[bytes, DetectorFacts]:
    if request.file.suffix.lower() in PICKLES:
        advance("converting to ONNX")
        content = to_onnx(content, scratch)
    return content, read_detector(content)


@dataclass(frozen=True, slots=True)
class _Made:
    """A detector that was read, on its way into the catalogue."""

    request: AddRequest
    name: str
    given_sha256: str
    onnx: bytes
    facts: DetectorFacts
    mapped: list[str | None]

    def fields(self) -> dict[str, Any]:
        """Return the catalogue entry."""
        sha256 = hashlib.sha256(self.onnx).hexdigest()
        stem = f"{self.name}-{sha256[:_HASH_DIGITS]}"
        file, said = printable(self.request.file.name, _TITLE_CHARS // 2), self.facts.description
        licence = self.request.licence or self.facts.licence or "not stated"
        source = self.request.source or f"{file}; {said}".removesuffix("; ")
        return {
            "name": self.name,
            "title": printable(f"{said or 'A detector'} ({file})", _TITLE_CHARS),
            "card": f"{stem}.md",
            "source": printable(source, _SOURCE_CHARS),
            "licence": printable(licence, _LICENCE_CHARS),
            "input": {
                "name": "images",
                "long_side_px": self.facts.long_side_px,
                "side_multiple_px": 32,
                "colour": "RGB",
                "range": [0, 1],
                "padding_grey": 114,
            },
            "heads": [{"output": self.facts.output, "classes": self.mapped}],
            "forms": {"onnx": {"file": f"{stem}.onnx", "sha256": sha256}},
        }

    def card(self, entry: Entry) -> str:
        """Return the model card: what is known, and that nothing was measured."""
        pairs = zip(self.facts.names, self.mapped, strict=True)
        rows = "\n".join(f"| {_cell(theirs)} | {ours} |" for theirs, ours in pairs if ours)
        unused = [theirs for theirs, ours in zip(self.facts.names, self.mapped, strict=True) if not ours]
        return f"""# {self.name}

{_cell(entry.title)}. Added by `gridwatch models add`.

| | |
|---|---|
| source | {_cell(entry.source)} |
| licence | {_cell(entry.licence)} |
| file that was given | {_cell(self.request.file.name)}, SHA-256 {self.given_sha256} |
| ONNX file | {entry.forms.onnx.file}, SHA-256 {entry.forms.onnx.sha256} |
| input | long side {entry.input.long_side_px} px |

| class of the file | taken as |
|---|---|
{rows}

Not used: {_cell(listed(unused)) if unused else "nothing"}.

Nothing was measured when it was added. `gridwatch models evaluate` scores it on labelled pictures; until that is done,
nobody knows how often it misses or is wrong.
"""


def _cell(text: str) -> str:
    return re.sub(r"([|<>`*_\[\]\\])", r"\\\1", printable(text))


def _tried(made: _Made, scratch: Path, advance: Advance) -> tuple[Entry, str]:
    """Write files, card and a catalogue of this one network, read them through the usual door, and run the network."""
    advance("trying it")
    fields = made.fields()
    try:
        entry = Entry.model_validate(fields)
    except ValueError as error:  # pydantic's is one
        raise WeightsError(f"it cannot stand in a catalogue: {error}", file=made.request.file) from error
    write(scratch / entry.forms.onnx.file, made.onnx)
    write(scratch / entry.card, made.card(entry).encode())
    one = scratch / "one.yaml"
    write(one, written(entry.name, [entry]).encode())
    catalogue = Catalogue.load(one)
    catalogue.verify(entry)
    try:
        return entry, probe(catalogue, entry)
    except WeightsError as error:
        raise WeightsError(error.problem, file=made.request.file) from error


def _store(file: Path, old: Catalogue | None, entry: Entry, scratch: Path) -> None:
    before = () if old is None else old.entries
    entries = [entry if each.name == entry.name else each for each in before]
    if entry not in entries:
        entries.append(entry)
    default = entry.name if old is None else old.default
    write(scratch / file.name, f"{HEADING}{written(default, entries)}".encode())
    move_all(scratch, file.parent, (entry.forms.onnx.file, entry.card, file.name))
    kept = {name for each in entries for name in (each.card, each.forms.onnx.file)}
    for each in before:
        if each.name == entry.name:
            _forget(file.parent, each, kept)


def _forget(folder: Path, entry: Entry, kept: set[str]) -> None:
    """Remove what an earlier `add` wrote for a network that was replaced, and nothing else."""
    stem = f"{entry.name}-{entry.forms.onnx.sha256[:_HASH_DIGITS]}"
    for name in {f"{stem}.onnx", f"{stem}.md"} - kept:
        with suppress(OSError):  # what stays is a file that nobody names
            (folder / name).unlink()
