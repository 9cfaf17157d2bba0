# SPDX-License-Identifier: AGPL-3.0-or-later
"""Which networks there are, where each comes from, and whether a file is the one that was meant.

A weights file is data, never code: ONNX only, no pickles (docs/adr/0004), inside the catalogue's own folder, and its
SHA-256 is checked on the very bytes that are loaded. Nothing is downloaded.
"""

import hashlib
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from gridwatch.core.detections import ObjectClass
from models.errors import WeightsError

OWN = Path(__file__).with_name("catalogue.yaml")
MOST_BYTES = 1 << 30  # a file is read whole before it is hashed

_CLASSES = [kind.name.lower() for kind in ObjectClass]


def _inside(path: str) -> str:
    pure = PurePosixPath(path)
    if pure.is_absolute() or ".." in pure.parts:
        raise ValueError("must be a path inside the catalogue's folder")
    return path


def _no_pickle(path: str) -> str:
    if PurePosixPath(path).suffix != ".onnx":
        raise ValueError("must be an .onnx file (a .pt or .pth is a pickle: loading it runs its code)")
    return _inside(path)


def _eight(classes: list[str]) -> list[str]:
    if classes != _CLASSES:
        raise ValueError(f"must be {', '.join(_CLASSES)}, in this order")
    return classes


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


class OutputSpec(_Strict):
    """The outputs' names, and the side of a cell of the density in input pixels."""

    detections: Literal["detections"]
    density: Literal["density"]
    density_cell_px: Literal[8]


class Entry(_Strict):
    """One network of the catalogue; `file` and `card` are relative to the catalogue's folder."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,63}$")]
    title: Annotated[str, Field(min_length=1, max_length=200)]
    file: Annotated[str, AfterValidator(_no_pickle)]
    card: Annotated[str, AfterValidator(_inside)]
    source: Annotated[str, Field(min_length=1, max_length=500)]
    licence: Annotated[str, Field(min_length=1, max_length=100)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    classes: Annotated[list[str], AfterValidator(_eight)]
    input: InputSpec
    outputs: OutputSpec


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

    def path_of(self, entry: Entry) -> Path:
        """Return where the entry's weights file should lie."""
        return self.file.parent / entry.file

    def verify(self, entry: Entry) -> Path:
        """Return the weights file after checking its SHA-256.

        Raises:
            WeightsError: missing, unreadable or another file than the one meant.
        """
        self.read(entry)
        return self.path_of(entry)

    def read(self, entry: Entry) -> bytes:
        """Return the weights file's bytes, which are the ones that were hashed.

        Raises:
            WeightsError: missing, unreadable or another file than the one meant.
        """
        path = self.path_of(entry)
        try:
            if path.stat().st_size > MOST_BYTES:
                raise WeightsError(
                    "is larger than 1 GiB, which no weights file of the catalogue is", file=path
                )
            weights = path.read_bytes()
        except FileNotFoundError as error:
            raise WeightsError(
                f"the weights of {entry.name!r} are missing; install them again", file=path
            ) from error
        except OSError as error:
            raise WeightsError(
                f"the weights of {entry.name!r} cannot be read: {error.strerror}", file=path
            ) from error
        found = hashlib.sha256(weights).hexdigest()
        if found != entry.sha256:
            raise WeightsError(
                f"not the file that the catalogue means by {entry.name!r}: SHA-256 is {found}, expected {entry.sha256};"
                " restore the file",
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
