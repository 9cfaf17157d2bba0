# SPDX-License-Identifier: AGPL-3.0-or-later
"""One network of a catalogue as a folder of its own, which another machine can name as its catalogue.

With an 8-bit form for OpenVINO on request, whose ranges are taken from the user's own pictures: of cameras as they hang.
Every file's name holds the hash of its content: what an earlier export wrote stays whole until the catalogue is replaced.
"""

import hashlib
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from gridwatch.core.detections import Detections
from models.backends.choose import Asked
from models.backends.onnx_external import NotWholeError, refuse_external
from models.backends.onnx_facts import read_node_names
from models.backends.port import first_line
from models.catalogue import OWN, Catalogue, Entry, Form, written
from models.errors import WeightsError
from models.evaluation.matching import iou, take_labels
from models.letterbox import scale_into
from models.network import Network, NetworkSettings
from models.pictures import Picture
from models.probing import probe
from models.storing import SCRATCH, move_all, scratch_in, write

CATALOGUE = "catalogue.yaml"
SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}
LEAST_PICTURES = 20
MOST_PICTURES = 300  # ranges hardly change with more, and each is two looks' time
HELD_OUT = 5  # every so manieth picture is not calibrated on but compared with
MOST_COMPARED = 40
SEEN = 0.25  # confidence of the boxes that are compared
_HASH_DIGITS = 12  # of a file's name

Advance = Callable[[str, int], None]
"""Told the step and how many of its parts there are when it begins, and (the step, 0) after each part."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the 8-bit form saw pictures that it was not calibrated on, beside single precision.

    Attributes:
        pictures: how many.
        boxes: those of single precision, confidence 0.25 and more.
        found: how many of them the 8-bit form has too (same class, IoU 0.5).
        more: boxes of the 8-bit form that single precision does not have.
    """

    pictures: int
    boxes: int
    found: int
    more: int


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written."""

    entry: Entry
    files: tuple[Path, ...]
    agreement: Agreement | None


def export(
    catalogue: Catalogue,
    entry: Entry,
    folder: Path,
    *,
    pictures: Path | None = None,
    force: bool = False,
    advance: Advance = lambda _step, _parts: None,
) -> Exported:
    """Write `entry`'s verified files, its card and a catalogue of it alone into `folder`.

    Args:
        catalogue: where `entry` stands.
        entry: the network.
        folder: made if missing; must be empty unless `force`.
        pictures: a folder of pictures on which an 8-bit form is calibrated, which then runs by default; none if None.
        force: write into a folder that holds something: other files stay, the same network's earlier export is replaced.
        advance: see `Advance`.

    Raises:
        WeightsError: a file is not what it should be, or something cannot be read or written; then nothing was changed.
    """
    if folder.resolve() == catalogue.file.resolve().parent:
        raise WeightsError("the network lies there already; name another folder", file=folder)
    if OWN.resolve().parent in (folder.resolve(), *folder.resolve().parents):
        raise WeightsError("gridwatch's own folder is not written to; name another one", file=folder)
    if not force and not _is_free(folder):
        raise WeightsError("the folder is not empty; name another one, or give --force", file=folder)
    stored = {form: catalogue.read(entry, form) for form in Form}
    card = _card(catalogue, entry)
    (onnx,) = stored[Form.ONNX]
    _check_whole(onnx, catalogue.paths_of(entry, Form.ONNX)[0])
    chosen = None
    if pictures is not None:
        _check_head(entry, onnx)
        chosen = _Calibration.read(pictures, entry.input.long_side_px, advance)
    with scratch_in(folder) as scratch:
        old = _earlier(folder, entry.name)
        plain, agreement = _copied(entry, stored, scratch), None
        if chosen is not None:
            plain = _quantised(plain, scratch, chosen, advance)
            agreement = _tried(plain, scratch, chosen, advance)
            card += _told(agreement, len(chosen.used)).encode()
        plain = _put_card(plain, scratch, card)
        copied = _catalogue(plain, scratch)
        copied.verify(plain)
        names = [file.name for form in Form for file in copied.paths_of(plain, form)]
        move_all(scratch, folder, (*names, plain.card, CATALOGUE))
        for name in old - {*names, plain.card}:
            with suppress(OSError):  # what stays is a file that nobody names
                (folder / name).unlink()
    return Exported(plain, tuple(folder / name for name in (CATALOGUE, *names, plain.card)), agreement)


def _earlier(folder: Path, name: str) -> set[str]:
    """Return the files that an earlier export of this network wrote into the folder.

    Raises:
        WeightsError: a catalogue of other networks lies there.
    """
    if not (folder / CATALOGUE).exists():
        return set()
    try:
        entries = Catalogue.load(folder / CATALOGUE).entries
    except WeightsError:  # it was no catalogue, so nothing is lost that could be run
        return set()
    others = ", ".join(entry.name for entry in entries if entry.name != name)
    if others:
        raise WeightsError(
            f"is the catalogue of other networks ({others}), which would be lost; name another folder",
            file=folder / CATALOGUE,
        )
    named = {
        file
        for entry in entries
        for file in (entry.card, *(one.file for form in Form for one in entry.forms.files(form)))
    }
    ours = re.compile(rf"{re.escape(name)}(-int8)?-[0-9a-f]{{{_HASH_DIGITS}}}\.(onnx|xml|bin|md)")
    return {file for file in named if ours.fullmatch(file)}


def _check_whole(onnx: bytes, file: Path) -> None:
    try:
        refuse_external(onnx)
    except NotWholeError as error:
        raise WeightsError(str(error), file=file) from error


def _check_head(entry: Entry, onnx: bytes) -> None:
    """Check that the head's arithmetic can be told from the rest: in eight bits its boxes would move by pixels."""
    from models.training.quantise import HEAD_ARITHMETIC  # noqa: PLC0415  late, as all of training

    names = read_node_names(onnx)
    modules = [int(number) for name in names for number in re.findall(r"model\.(\d{1,4})/", name)]
    head = HEAD_ARITHMETIC.replace("{head}", str(max(modules, default=0)))
    if not any(re.match(head, name) for name in names):
        raise WeightsError(
            f"{entry.name!r} cannot be made 8-bit: its layers are not named as Ultralytics names them, so the head, which "
            "must stay exact, cannot be found"
        )


def _is_free(folder: Path) -> bool:
    try:
        # What one that was killed has left is no content: `scratch_in` clears it.
        there = folder.iterdir() if folder.is_dir() else ()
        return all(one.name.startswith(SCRATCH) for one in there)
    except OSError as error:
        raise WeightsError(f"the folder cannot be read: {error.strerror}", file=folder) from error


def _card(catalogue: Catalogue, entry: Entry) -> bytes:
    file = catalogue.file.parent / entry.card
    try:
        return file.read_bytes()
    except OSError as error:
        raise WeightsError(
            f"the card of {entry.name!r} cannot be read: {error.strerror}", file=file
        ) from error


def _copied(entry: Entry, stored: Mapping[Form, Sequence[bytes]], scratch: Path) -> Entry:
    """Write the files of all forms; return the entry that names them."""
    names = {
        one.file: _put(scratch, _stem(entry, form), PurePosixPath(one.file).suffix, content)
        for form in Form
        for one, content in zip(entry.forms.files(form), stored[form], strict=True)
    }

    def renamed(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: names[one] if key == "file" else renamed(one) for key, one in value.items()}
        return [renamed(one) for one in value] if isinstance(value, list) else value

    fields = entry.model_dump(mode="json")
    return Entry.model_validate({**fields, "forms": renamed(fields["forms"])})


def _stem(entry: Entry, form: Form) -> str:
    return f"{entry.name}-int8" if form is Form.OPENVINO_INT8 else entry.name


def _put(scratch: Path, stem: str, suffix: str, content: bytes) -> str:
    """Write a file whose name holds its hash; return the name."""
    name = f"{stem}-{hashlib.sha256(content).hexdigest()[:_HASH_DIGITS]}{suffix}"
    write(scratch / name, content)
    return name


def _put_card(entry: Entry, scratch: Path, card: bytes) -> Entry:
    fields = entry.model_dump(mode="json")
    return Entry.model_validate({**fields, "card": _put(scratch, entry.name, ".md", card)})


def _catalogue(entry: Entry, scratch: Path) -> Catalogue:
    write(scratch / CATALOGUE, written(entry.name, [entry]).encode())
    return Catalogue.load(scratch / CATALOGUE)


@dataclass(frozen=True, slots=True, eq=False)
class _Calibration:
    """Pictures (h, w, 3) uint8 BGR, reduced to the network's input: those to calibrate on, and those to compare on."""

    used: Sequence[NDArray[np.uint8]]
    held_out: Sequence[NDArray[np.uint8]]

    @classmethod
    def read(cls, folder: Path, long_side_px: int, advance: Advance) -> "_Calibration":
        if find_spec("nncf") is None:
            raise WeightsError("an 8-bit form needs nncf: install gridwatch with the extra `train`")
        files = _spread(_picture_files(folder), MOST_PICTURES)
        advance("reading pictures", len(files))
        pictures = []
        for file in files:
            pictures.append(_read(file, long_side_px))
            advance("reading pictures", 0)
        held = pictures[HELD_OUT - 1 :: HELD_OUT]
        del pictures[HELD_OUT - 1 :: HELD_OUT]
        return cls(pictures, _spread(held, MOST_COMPARED))


def _picture_files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise WeightsError("is no folder of pictures", file=folder)
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if len(files) < LEAST_PICTURES:
        raise WeightsError(
            f"holds {len(files)} pictures ({', '.join(sorted(SUFFIXES))}); calibration needs at least {LEAST_PICTURES}, and "
            f"{MOST_PICTURES} of all your cameras, by day and night, are good",
            file=folder,
        )
    return files


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """Return at most so many, evenly from all."""
    count = min(len(items), most)
    return [items[at * len(items) // count] for at in range(count)]


def _read(file: Path, long_side_px: int) -> NDArray[np.uint8]:
    try:
        content = np.frombuffer(file.read_bytes(), np.uint8)
        pixels = cv2.imdecode(content, cv2.IMREAD_COLOR) if len(content) else None
    except OSError as error:
        raise WeightsError(f"cannot be read: {error.strerror}", file=file) from error
    except cv2.error as error:
        raise WeightsError("is no picture that can be decoded; take it away", file=file) from error
    if pixels is None:
        raise WeightsError("is no picture that can be decoded; take it away", file=file)
    scale = min(1.0, long_side_px / max(pixels.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    out = np.empty((height, width, 3), np.uint8)
    scale_into(np.asarray(pixels, np.uint8), out)
    return out


def _quantised(entry: Entry, scratch: Path, chosen: _Calibration, advance: Advance) -> Entry:
    """Write the 8-bit form beside the ONNX file and return the entry that names it and runs it by default."""
    from models.training.quantise import quantise  # noqa: PLC0415  with the extra only

    step = "calibrating"
    advance(step, len(chosen.used))
    xml = scratch / "quantised.xml"
    try:
        quantise(
            scratch / entry.forms.onnx.file,
            xml,
            chosen.used,
            outputs=entry.outputs,
            long_side_px=entry.input.long_side_px,
            advance=lambda: advance(step, 0),
        )
    except _errors_of_quantising() as error:
        raise WeightsError(f"{entry.name!r} cannot be made 8-bit: {first_line(error)}") from error
    stem = _stem(entry, Form.OPENVINO_INT8)
    contents = {suffix: xml.with_suffix(suffix).read_bytes() for suffix in (".xml", ".bin")}
    files = [
        {"file": _put(scratch, stem, suffix, content), "sha256": hashlib.sha256(content).hexdigest()}
        for suffix, content in contents.items()
    ]
    fields = entry.model_dump(mode="json")
    fields["precision"] = "int8"
    fields["forms"]["openvino_int8"] = {"files": files}
    return Entry.model_validate(fields)


def _errors_of_quantising() -> tuple[type[Exception], ...]:
    """Return what OpenVINO and NNCF raise; NNCF's are some fifteen classes without a base of their own."""
    there = vars(sys.modules["nncf.errors"]).values() if "nncf.errors" in sys.modules else ()
    own = [kind for kind in there if isinstance(kind, type) and issubclass(kind, Exception)]
    return (RuntimeError, ValueError, KeyError, IndexError, *own)


def _tried(entry: Entry, scratch: Path, chosen: _Calibration, advance: Advance) -> Agreement:
    catalogue = _catalogue(entry, scratch)
    catalogue.verify(entry)
    probe(catalogue, entry, precision="int8")
    return _compare(catalogue, entry, chosen, advance)


def _compare(catalogue: Catalogue, entry: Entry, chosen: _Calibration, advance: Advance) -> Agreement:
    step = "comparing with single precision"
    advance(step, len(chosen.held_out))
    exact, rounded = (
        Network.open(
            entry.name,
            threads=1,
            settings=NetworkSettings(SEEN, asked=Asked("openvino", precision, "cpu")),
            catalogue=catalogue,
        )
        for precision in ("f32", "int8")
    )
    boxes = found = other = 0
    for pixels in chosen.held_out:
        pair = [each.detect(Picture(pixels), parts=entry.parts) for each in (exact, rounded)]
        boxes += len(pair[0].confidence)
        other += len(pair[1].confidence)
        found += _same(*pair)
        advance(step, 0)
    return Agreement(len(chosen.held_out), boxes, found, other - found)


def _same(exact: Detections, rounded: Detections) -> int:
    found = 0
    for kind in set(exact.class_id.tolist()):
        mine, theirs = (each.xyxy[each.class_id == kind] for each in (exact, rounded))
        found += int((take_labels(iou(theirs, mine)) >= 0).sum())
    return found


def _told(agreement: Agreement, used: int) -> str:
    return f"""
## The 8-bit form

Calibrated on {used} pictures of this machine's owner. On {agreement.pictures} others single precision has {agreement.boxes} boxes (confidence {SEEN} and
more); the 8-bit form has {agreement.found} of them (same class, IoU 0.5) and {agreement.more} that single precision does not have.
"""
