# SPDX-License-Identifier: AGPL-3.0-or-later
"""Whether an ONNX file is an Ultralytics detector that this system can run, and which of its classes mean what.

Reads what the file says of itself; whether it also computes so is tried when it is added (models/adding.py).
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gridwatch.core.detections import ObjectClass
from models.backends.onnx_external import NotWholeError, refuse_external
from models.backends.onnx_facts import FLOAT, OnnxFacts, Value, read_facts
from models.backends.port import INPUT
from models.errors import InferenceError, WeightsError
from models.letterbox import STRIDE_PX

STRIDES = frozenset(str(stride) for stride in range(1, STRIDE_PX + 1))
MOST_CLASSES = 1000
MOST_NAMES_CHARS = 1 << 16
MOST_SIZE_CHARS = 64
MOST_LISTED = 20  # class names in one sentence
LEAST_PX, MOST_PX, USUAL_PX = 64, 1920, 640
REMEDY = "export it with Ultralytics as format='onnx', dynamic=True, nms=None, half=False"
OURS = tuple(kind.name.lower() for kind in ObjectClass)
_SIDES, _END_TO_END_ROWS = 4, 6  # of an input; of a box after suppression: four corners, score, class


@dataclass(frozen=True, slots=True)
class DetectorFacts:
    """What a detector's file says of itself.

    Attributes:
        output: name of its one output.
        names: its classes, in the order of the output's columns.
        long_side_px: of the pictures that it was trained or exported for.
        description, licence: as its maker wrote them; empty where nothing is said.
    """

    output: str
    names: tuple[str, ...]
    long_side_px: int
    description: str
    licence: str


def read_detector(model: bytes) -> DetectorFacts:
    """Read and check the file's own description.

    Raises:
        WeightsError: it is no ONNX file, no detector, or has a form that cannot be run here; says what to do.
    """
    try:
        facts = read_facts(model)
        refuse_external(model)
    except InferenceError as error:
        raise WeightsError(error.reason) from error
    except NotWholeError as error:
        raise WeightsError(str(error)) from error
    _check_task(facts.notes)
    _check_input(facts)
    output = _output(facts)
    names = _names(facts.notes["names"])
    rows = output.sides[1] if len(output.sides) > 1 else None
    if rows is not None and rows != 4 + len(names):
        raise WeightsError(
            f"its output has {rows} rows where {len(names)} classes need {4 + len(names)}: {REMEDY}"
        )
    said = {key: printable(facts.notes.get(key, "")) for key in ("description", "license", "version")}
    version = f", Ultralytics {said['version']}" if said["version"] else ""
    description = f"{said['description'].strip()}{version}".removeprefix(", ")
    return DetectorFacts(output.name, names, _long_side_px(facts.notes), description, said["license"])


def _check_task(notes: Mapping[str, str]) -> None:
    if "names" not in notes or "task" not in notes:
        raise WeightsError(f"it does not say its task and classes, as Ultralytics' exports do: {REMEDY}")
    if notes["task"] != "detect":
        raise WeightsError(
            f"its task is {printable(notes['task'])!r}, not 'detect': only a network that gives boxes can be added"
        )
    stride = notes.get("stride", str(STRIDE_PX))
    if stride not in STRIDES:
        raise WeightsError(
            f"its stride is {printable(stride)}; inputs here are multiples of {STRIDE_PX} pixels"
        )


def _check_input(facts: OnnxFacts) -> None:
    if [value.name for value in facts.inputs] != [INPUT]:
        raise WeightsError(f"its input is not {INPUT!r} alone: {REMEDY}")
    (images,) = facts.inputs
    if images.element != FLOAT:
        raise WeightsError(f"its input is not single precision: {REMEDY}")
    if len(images.sides) != _SIDES or images.sides[1] != 3:  # noqa: PLR2004  colours
        raise WeightsError("its input is not a colour picture")
    if any(images.sides[side] is not None for side in (0, 2, 3)):
        sides = " × ".join("free" if side is None else str(side) for side in images.sides)
        raise WeightsError(f"its input has a fixed size ({sides}), and cameras have several: {REMEDY}")


def _output(facts: OnnxFacts) -> Value:
    if len(facts.outputs) != 1:
        raise WeightsError(f"it has {len(facts.outputs)} outputs, and a detector has one")
    (output,) = facts.outputs
    if output.sides[-1:] == (_END_TO_END_ROWS,) or facts.notes.get("end2end") == "True":
        raise WeightsError(
            f"its output is a list of boxes that were chosen already, and boxes are chosen here: {REMEDY}"
        )
    return output


def _names(written: str) -> tuple[str, ...]:
    """Return the classes; Ultralytics writes them as Python writes a dict from numbers to names."""
    try:
        if len(written) > MOST_NAMES_CHARS:
            raise ValueError("too long")
        found = ast.literal_eval(written)
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError) as error:
        raise WeightsError("its list of classes cannot be read") from error
    if not isinstance(found, dict) or found.keys() != set(range(len(found))):
        raise WeightsError("its list of classes is no numbered list of names")
    if not all(isinstance(name, str) for name in found.values()):
        raise WeightsError("its list of classes has names that are no text")
    if not 0 < len(found) <= MOST_CLASSES:
        raise WeightsError(f"it has {len(found)} classes; 1 to {MOST_CLASSES} can be read")
    return tuple(printable(found[at]) for at in range(len(found)))


def _long_side_px(notes: Mapping[str, str]) -> int:
    try:
        sides = ast.literal_eval(notes.get("imgsz", str(USUAL_PX))[:MOST_SIZE_CHARS])
        longest = max(sides) if isinstance(sides, list | tuple) else sides
        if LEAST_PX <= longest <= MOST_PX and longest % STRIDE_PX == 0:
            return int(longest)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise WeightsError("its picture size (imgsz) cannot be read") from error
    raise WeightsError(
        f"its picture size (imgsz) is {longest}; a multiple of {STRIDE_PX} from {LEAST_PX} to {MOST_PX} can be run"
    )


def printable(text: str, most: int = 200) -> str:
    """Return a stranger's text on one line, without what a terminal might take for a command."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:most])


def map_classes(names: Sequence[str], asked: Mapping[str, str | None]) -> list[str | None]:
    """Return for each of the file's classes which of ours it is, None where it is none.

    A class that has one of our names is that class. Nothing else is guessed: what a name means is for people to say.

    Args:
        names: the file's.
        asked: from the file's name to ours, or to None where it should not be taken.

    Raises:
        WeightsError: a name is unknown, two classes are one of ours, or none is.
    """
    for theirs, ours in asked.items():
        if theirs not in names:
            raise WeightsError(f"it has no class {theirs!r}; it has {listed(names)}")
        if ours is not None and ours not in OURS:
            raise WeightsError(f"{ours!r} is none of {', '.join(OURS)}")
    mapped = [asked[name] if name in asked else _same(name) for name in names]
    for ours in OURS:
        same = [name for name, one in zip(names, mapped, strict=True) if one == ours]
        if len(same) > 1:
            raise WeightsError(
                f"{listed(same)} would all be {ours!r}, and a class has one column: leave out all but one with "
                f"--classes '{same[-1]}=none'"
            )
    if not any(mapped):
        raise WeightsError(
            f"none of its classes is one of ours ({', '.join(OURS)}); it has {listed(names)}: say what they mean with "
            "--classes THEIRS=OURS"
        )
    return mapped


def _same(name: str) -> str | None:
    plain = name.strip().lower()
    return plain if plain in OURS else None


def listed(names: Sequence[str]) -> str:
    """Return names as a phrase, the first twenty of them."""
    more = len(names) - MOST_LISTED
    return ", ".join(map(repr, names[:MOST_LISTED])) + (f" and {more} more" if more > 0 else "")
