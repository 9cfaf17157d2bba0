# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which networks there are, where each comes from, and whether a file is the one that was meant.

A weights file is data, never code: ONNX, or OpenVINO's own pair of files, no pickles (docs/adr/0004), inside the
catalogue's own folder, and its SHA-256 is checked on the very bytes that are loaded. Nothing is downloaded.
"""

import hashlib
from collections.abc import Callable, Sequence
from enum import StrEnum
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gridwatch.core.detections import ObjectClass, Part
from models.errors import WeightsError

OWN = Path(__file__).with_name("catalogue.yaml")
MOST_BYTES = 1 << 30  # a file is read whole before it is hashed


class Form(StrEnum):
    """How a network is stored."""

    ONNX = "onnx"
    OPENVINO_INT8 = "openvino_int8"


_CLASSES = {kind.name.lower(): kind for kind in ObjectClass}


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise ValueError("must be a path inside the catalogue's folder")
    return path


def _ends_in(suffix: str) -> Callable[[str], str]:
    def checked(path: str) -> str:
        if PurePosixPath(path).suffix != suffix:
            raise ValueError(
                f"must be an {suffix} file (a .pt or .pth is a pickle: loading it runs its code)"
            )
        return _inside(path)

    return checked


def _known_classes(names: list[str | None]) -> list[str | None]:
    ours = [name for name in names if name is not None]
    unknown = next((name for name in ours if name not in _CLASSES), None)
    if unknown is not None:
        raise ValueError(
            f"{unknown!r} is none of {', '.join(_CLASSES)}; a column that is none of them is null"
        )
    if not ours or len(set(ours)) != len(ours):
        raise ValueError("must name at least one class, and none twice")
    return names


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(_Strict):
    """What the network expects. Only the long side is a choice; the rest says what the letterbox does."""

    name: Literal["images"]
    long_side_px: Annotated[int, Field(ge=64, le=1920, multiple_of=32)]
    side_multiple_px: Literal[32]
    colour: Literal["RGB"]
    range: tuple[Literal[0], Literal[1]]
    padding_grey: Literal[114]


Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
OutputName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.:/-]{1,64}$")]


class HeadSpec(_Strict):
    """One output (B, 4 + C, N): centre x, centre y, width, height in input pixels, then a score for each of `classes`.

    `classes` names the C columns in their order; null is a column that means nothing to us.
    """

    output: OutputName
    classes: Annotated[list[str | None], Field(max_length=1000), AfterValidator(_known_classes)]

    @property
    def columns(self) -> dict[ObjectClass, int]:
        """Which column of the scores tells a class."""
        return {_CLASSES[name]: at for at, name in enumerate(self.classes) if name is not None}

    @property
    def parts(self) -> frozenset[Part]:
        """The parts that this head answers."""
        return frozenset(Part.of(kind) for kind in self.columns)


class DensitySpec(_Strict):
    """The crowd counter's output (B, 1, H / cell, W / cell): persons per cell."""

    output: OutputName
    cell_px: Literal[8]


class OnnxFile(_Strict):
    """An ONNX file and its hash."""

    file: Annotated[str, AfterValidator(_ends_in(".onnx"))]
    sha256: Sha256


class _IrGraph(_Strict):
    file: Annotated[str, AfterValidator(_ends_in(".xml"))]
    sha256: Sha256


class _IrWeights(_Strict):
    file: Annotated[str, AfterValidator(_ends_in(".bin"))]
    sha256: Sha256


class OpenVinoPair(_Strict):
    """OpenVINO's own format: the graph (.xml) and its weights (.bin), each with its hash."""

    files: tuple[_IrGraph, _IrWeights]


class Forms(_Strict):
    """The files of one network: single precision for every engine, and what one engine has besides."""

    onnx: OnnxFile
    openvino_int8: OpenVinoPair | None = None

    def files(self, form: Form) -> tuple["OnnxFile | _IrGraph | _IrWeights", ...]:
        """Return the files of one form; none where the network does not have it."""
        if form is Form.ONNX:
            return (self.onnx,)
        return self.openvino_int8.files if self.openvino_int8 else ()


class Entry(_Strict):
    """One network of the catalogue; its files and `card` are relative to the catalogue's folder."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
    title: Annotated[str, Field(min_length=1, max_length=200)]
    card: Annotated[str, AfterValidator(_inside)]
    source: Annotated[str, Field(min_length=1, max_length=500)]
    licence: Annotated[str, Field(min_length=1, max_length=100)]
    input: InputSpec
    heads: Annotated[list[HeadSpec], Field(min_length=1, max_length=8)]
    density: DensitySpec | None = None
    precision: Literal["f32", "int8"] = "f32"
    """What runs on a CPU unless the settings say otherwise."""
    forms: Forms

    @model_validator(mode="after")
    def _outputs_and_classes_are_told_once(self) -> "Entry":
        classes = [kind for head in self.heads for kind in head.columns]
        if len(set(classes)) != len(classes):
            raise ValueError("two heads tell the same class")
        if len(set(self.outputs)) != len(self.outputs):
            raise ValueError("two outputs have the same name")
        if self.precision == "int8" and self.forms.openvino_int8 is None:
            raise ValueError("precision is int8, but forms has no openvino_int8")
        return self

    @property
    def outputs(self) -> tuple[str, ...]:
        """All outputs that are used: the heads', then the density's."""
        return self.outputs_for(frozenset(Part))

    def outputs_for(self, parts: frozenset[Part]) -> tuple[str, ...]:
        """Return the outputs that have to be computed for these parts."""
        heads = tuple(head.output for head in self.heads if head.parts & parts)
        return (*heads, self.density.output) if self.density and Part.CROWD in parts else heads

    @property
    def parts(self) -> frozenset[Part]:
        """What this network can be asked for."""
        seen = {part for head in self.heads for part in head.parts}
        return frozenset(seen | {Part.CROWD} if self.density else seen)

    @property
    def tells(self) -> frozenset[ObjectClass]:
        """The classes that it tells."""
        return frozenset(kind for head in self.heads for kind in head.columns)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes that it tells, in our order."""
        return tuple(kind.name.lower() for kind in ObjectClass if kind in self.tells)

    def sha256(self, form: Form) -> str:
        """Return what names the weights that run: the file's SHA-256; of two files, that of both hashes in a row."""
        hashes = [stored.sha256 for stored in self.forms.files(form)]
        return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


class _Document(_Strict):
    default: str
    networks: Annotated[list[Entry], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _names_are_known_once(self) -> "_Document":
        names = [entry.name for entry in self.networks]
        if len(set(names)) != len(names):
            raise ValueError("two networks have the same name")
        if self.default not in names:
            raise ValueError(f"default names no network: {self.default!r}")
        return self


def written(default: str, entries: Sequence[Entry]) -> str:
    """Return the text of a catalogue with these networks.

    Raises:
        WeightsError: they cannot stand in one catalogue.
    """
    try:
        document = _Document(default=default, networks=list(entries))
    except ValidationError as error:
        raise WeightsError(error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")) from error
    fields = document.model_dump(mode="json", exclude_none=True)
    return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


class Catalogue:
    """The networks of one catalogue file."""

    def __init__(self, file: Path, document: _Document) -> None:
        """Wrap a validated document; use `load`."""
        self.file = file
        self.default = document.default
        self.entries: tuple[Entry, ...] = tuple(document.networks)

    @classmethod
    def load(cls, path: Path | None = None) -> "Catalogue":
        """Read a catalogue; this distribution's own if `path` is None.

        Raises:
            WeightsError: unreadable, no YAML, or a wrong field, with file and line.
        """
        path = path or OWN
        node, raw = _parse(path)
        try:
            return cls(path, _Document.model_validate(raw))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            said = first["msg"].removeprefix("Value error, ")
            raise WeightsError(
                f"{where}: {said}" if where else said, file=path, line=_line(node, first["loc"])
            ) from error

    def entry(self, name: str | None = None) -> Entry:
        """Return the network called `name`; the default one if None.

        Raises:
            WeightsError: there is none.
        """
        name = name or self.default
        for entry in self.entries:
            if entry.name == name:
                return entry
        known = ", ".join(entry.name for entry in self.entries)
        raise WeightsError(f"no network is called {name!r}; there are: {known}", file=self.file)

    def paths_of(self, entry: Entry, form: Form) -> tuple[Path, ...]:
        """Return where the files of one form should lie; none where the network does not have it."""
        return tuple(self.file.parent / stored.file for stored in entry.forms.files(form))

    def verify(self, entry: Entry) -> None:
        """Check the SHA-256 of all files of a network.

        Raises:
            WeightsError: one is missing, unreadable or another file than the one meant.
        """
        for form in Form:
            self.read(entry, form)

    def read(self, entry: Entry, form: Form) -> tuple[bytes, ...]:
        """Return the bytes of a form's files, which are the ones that were hashed.

        Raises:
            WeightsError: one is missing, unreadable or another file than the one meant.
        """
        stored = zip(self.paths_of(entry, form), entry.forms.files(form), strict=True)
        return tuple(_read(path, each.sha256, entry.name) for path, each in stored)


def _read(path: Path, sha256: str, name: str) -> bytes:
    try:
        if path.stat().st_size > MOST_BYTES:
            raise WeightsError("is larger than 1 GiB, which no weights file of the catalogue is", file=path)
        weights = path.read_bytes()
    except FileNotFoundError as error:
        raise WeightsError(f"the weights of {name!r} are missing; install them again", file=path) from error
    except OSError as error:
        raise WeightsError(f"the weights of {name!r} cannot be read: {error.strerror}", file=path) from error
    found = hashlib.sha256(weights).hexdigest()
    if found != sha256:
        raise WeightsError(
            f"not the file that the catalogue means by {name!r}: SHA-256 is {found}, expected {sha256}; restore the file",
            file=path,
        )
    return weights


def _parse(path: Path) -> tuple[yaml.Node | None, Any]:
    try:
        text = path.read_text(encoding="utf-8")
        return yaml.compose(text, Loader=yaml.SafeLoader), yaml.safe_load(text)
    except FileNotFoundError as error:
        raise WeightsError("no catalogue there", file=path) from error
    except OSError as error:
        raise WeightsError(f"the catalogue cannot be read: {error.strerror}", file=path) from error
    except UnicodeDecodeError as error:
        raise WeightsError("the catalogue is not UTF-8 text", file=path) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise WeightsError(f"not valid YAML: {problem}", file=path, line=line) from error


def _line(node: yaml.Node | None, loc: tuple[int | str, ...]) -> int | None:
    """Return the 1-based line of the deepest node on the way `loc` that exists."""
    line = None if node is None else node.start_mark.line + 1
    for part in loc:
        child = _child(node, part)
        if child is None:
            return line
        line, node = child[0].start_mark.line + 1, child[1]
    return line


def _child(node: yaml.Node | None, part: int | str) -> tuple[yaml.Node, yaml.Node] | None:
    """Return the node that tells the line (a key, or an item) and the node to go on from."""
    if isinstance(node, yaml.MappingNode):
        return next(((key, value) for key, value in node.value if key.value == part), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
        return node.value[part], node.value[part]
    return None
