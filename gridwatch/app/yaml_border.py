# SPDX-License-Identifier: AGPL-3.0-or-later
"""From a YAML file to a validated model, with the line of every mistake. Not a second YAML dialect: PyYAML reads it."""

import difflib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails

from gridwatch.core.errors import InputError

Where = tuple[int | str, ...]
M = TypeVar("M", bound=BaseModel)
_LOADER = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # libyaml's where PyYAML was built with it: ten times faster


class Strict(BaseModel):
    """A part of a configuration file: unknown fields are mistakes, values do not change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: where it stands (1-based line), the path of the field, what is wrong and what to do."""

    file: Path
    line: int | None
    path: str
    text: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{place}: {self.path + ': ' if self.path else ''}{self.text}"


class ConfigError(InputError):
    """A configuration file has mistakes; one sentence each, with file and line."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in problems))


@dataclass(frozen=True, slots=True)
class Document:
    """A loaded YAML file: its data, and the line on which each value stands."""

    file: Path
    data: Any
    lines: dict[Where, int]

    def line_of(self, where: Where) -> int | None:
        """Return the line of the value at `where`, or of the nearest thing around it."""
        for length in range(len(where), -1, -1):
            if where[:length] in self.lines:
                return self.lines[where[:length]]
        return None


def load_yaml(file: Path) -> Document:
    """Read a YAML file.

    Raises:
        ConfigError: it cannot be read, or it is not YAML.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError([Problem(file, None, "", f"cannot be read: {reason}")]) from error
    try:
        root, data = _parsed(text)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(
            [Problem(file, line, "", f"is not valid YAML: {error.problem or error.context}")]
        ) from error
    except (yaml.YAMLError, ValueError) as error:  # a control character; a date that does not exist
        raise ConfigError(
            [Problem(file, None, "", f"is not valid YAML: {str(error).splitlines()[0]}")]
        ) from error
    lines: dict[Where, int] = {}
    problems: list[Problem] = []
    if root is not None:
        _note_lines(root, (), lines, lambda line, name: problems.append(_twice(file, line, name)))
    if problems:
        raise ConfigError(problems)
    return Document(file, data, lines)


def _parsed(text: str) -> tuple[yaml.Node | None, Any]:
    """Return the one document of a text, as nodes with their lines and as data: thousands of cameras are parsed only once."""
    loader = _LOADER(text)
    try:
        root = loader.get_single_node()
        return root, None if root is None else loader.construct_document(root)
    finally:
        loader.dispose()


def _twice(file: Path, line: int, name: str) -> Problem:
    return Problem(file, line, "", f"field {name!r} stands here a second time")


def validate(model: type[M], document: Document) -> M:
    """Return the document as `model`.

    Raises:
        ConfigError: with every mistake that pydantic found, each with its line.
    """
    try:
        return model.model_validate(document.data if document.data is not None else {})
    except ValidationError as error:
        problems = [_problem(document, details, model) for details in error.errors(include_url=False)]
        raise ConfigError(problems) from error


def _note_lines(
    node: yaml.Node, where: Where, lines: dict[Where, int], twice: Callable[[int, str], None]
) -> None:
    lines[where] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if (*where, name) in lines:
                twice(line, name)
            _note_lines(value, (*where, name), lines, twice)
            lines[(*where, name)] = line
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _note_lines(item, (*where, index), lines, twice)


def _problem(document: Document, details: ErrorDetails, model: type[BaseModel]) -> Problem:
    where: Where = tuple(details["loc"])
    text = details["msg"].removeprefix("Value error, ")
    if details["type"] == "extra_forbidden":
        text = f"unknown field {where[-1]!r}{_suggestion(str(where[-1]), _fields_at(model, where[:-1]))}"
    elif details["type"] == "missing":
        text = f"field {where[-1]!r} is missing"
    elif details["type"] not in {"value_error", "assertion_error"} and isinstance(details["input"], Hashable):
        text = f"{text[0].lower()}{text[1:]}, got {details['input']!r}"
    path = ".".join(str(part) for part in where)
    return Problem(document.file, document.line_of(where), path, text)


def _suggestion(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(known)}" if known else ""


def _fields_at(model: type[BaseModel], where: Where) -> list[str]:
    """Return the names that are known at a place of the model, following names and skipping list positions."""
    found: type[BaseModel] | None = model
    for part in where:
        if isinstance(part, int):
            continue
        field = found.model_fields.get(part) or _by_alias(found, part) if found else None
        found = _model_in(field.annotation) if field else None
    return [field.alias or name for name, field in found.model_fields.items()] if found else []


def _by_alias(model: type[BaseModel], name: str) -> Any:
    return next((field for field in model.model_fields.values() if field.alias == name), None)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(part) for part in getattr(annotation, "__args__", ()))
    return next((found for found in inner if found), None)
