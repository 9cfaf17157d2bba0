# SPDX-License-Identifier: AGPL-3.0-or-later
"""Pictures with boxes in YOLO's form: data.yaml, images/SPLIT, labels/SPLIT, and a MANIFEST.tsv where there is one.

Reads no pixels and changes nothing. A picture without a label file, or with an empty one, shows none of the classes: it
is a negative. So a file that is missing by mistake is not seen as one; how many are missing stands in the notes.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from gridwatch.core.detections import ObjectClass
from gridwatch.core.geometry import Float32
from models.evaluation.errors import DatasetError
from models.evaluation.manifest import Row, read_lines, read_manifest

DATA_YAML = "data.yaml"
PICTURES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
MOST_PICTURES = 200_000
# Labels are rounded when they are written; what lies further outside is a mistake.
_TOLERANCE = 0.01
_COLUMNS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """One picture and what is labelled in it.

    Attributes:
        xyxy: (N, 4) float32, normalised picture coordinates.
        class_id: (N,) int64, see `ObjectClass`.
        group: pictures of one group resemble each other (frames of one clip) and are drawn together.
        note: the manifest's words about the picture, "" where there are none.
    """

    file: Path
    xyxy: Float32
    class_id: NDArray[np.int64]
    group: str
    note: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """One split. `classes` are those of ours that data.yaml names; `grouped` tells whether the manifest has groups."""

    folder: Path
    split: str
    classes: frozenset[ObjectClass]
    samples: tuple[Sample, ...]
    grouped: bool
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.folder.name


def is_boxes(folder: Path) -> bool:
    """Tell whether a folder claims to be a data set with boxes."""
    return (folder / DATA_YAML).exists()


def has_split(folder: Path, split: str) -> bool:
    """Tell whether a data set with boxes has a split.

    Raises:
        DatasetError: data.yaml is missing or wrong.
    """
    _, splits, _ = _read_yaml(folder / DATA_YAML)
    return (folder / splits.get(split, f"images/{split}")).is_dir()


def load_dataset(folder: Path, split: str) -> Dataset:
    """Read one split of a data set.

    Raises:
        DatasetError: no such folder or split, no class of ours, a label without its picture, a broken label line.
    """
    meaning, splits, unknown = _read_yaml(folder / DATA_YAML)
    images = folder / splits.get(split, f"images/{split}")
    if not images.is_dir():
        known = ", ".join(sorted(splits)) or "none"
        raise DatasetError(f"has no split {split!r} (no folder there); data.yaml names: {known}", file=images)
    pictures = _pictures(images)
    labels = _labels_folder(folder, images)
    _refuse_orphans(labels, pictures)
    rows = read_manifest(folder) or {}
    samples = tuple(
        _sample(
            picture,
            labels / f"{picture.stem}.txt",
            meaning,
            rows.get(picture.relative_to(folder).as_posix(), {}),
        )
        for picture in pictures
    )
    missing = sum(not (labels / f"{picture.stem}.txt").exists() for picture in pictures)
    return Dataset(
        folder,
        split,
        frozenset(kind for kind in meaning.values() if kind is not None),
        samples,
        any("group" in row for row in rows.values()),
        tuple(_notes(unknown, missing)),
    )


def _notes(unknown: list[str], missing: int) -> Iterator[str]:
    if unknown:
        yield f"classes of data.yaml that are none of ours, left out: {', '.join(unknown)}"
    if missing:
        yield f"{missing} pictures have no label file and count as pictures without any of the classes"


def _read_yaml(file: Path) -> tuple[dict[int, ObjectClass | None], dict[str, str], list[str]]:
    """Return what each class number means (None: none of ours), the splits' folders and the unknown names."""
    if not file.parent.is_dir():
        raise DatasetError("is no folder; name the one that holds data.yaml", file=file.parent)
    if not file.exists():
        raise DatasetError(
            "is missing; a data set with boxes says there what its class numbers mean", file=file
        )
    try:
        data = yaml.safe_load("\n".join(read_lines(file)))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = None if mark is None else mark.line + 1
        raise DatasetError("is not valid YAML", file=file, line=line) from error
    names = _names(data, file)
    ours = {kind.name.lower(): kind for kind in ObjectClass}
    meaning = {number: ours.get(name.strip().lower()) for number, name in names.items()}
    if not any(kind is not None for kind in meaning.values()):
        raise DatasetError(f"names none of our classes; they are: {', '.join(ours)}", file=file)
    unknown = [names[number] for number, kind in meaning.items() if kind is None]
    return meaning, _splits(data), unknown


def _names(data: Any, file: Path) -> dict[int, str]:
    names = data.get("names") if isinstance(data, Mapping) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, Mapping) or not names:
        raise DatasetError("needs `names`: a list, or numbers with the names of the classes", file=file)
    if not all(isinstance(number, int) and isinstance(name, str) for number, name in names.items()):
        raise DatasetError("`names` has an entry that is no number with a name", file=file)
    return dict(names)


def _splits(data: Mapping[str, Any]) -> dict[str, str]:
    root = data.get("path")
    root = "" if not isinstance(root, str) or Path(root).is_absolute() else root
    reserved = {"path", "names", "nc", "download"}
    return {
        str(key): str(Path(root) / value)
        for key, value in data.items()
        if key not in reserved and isinstance(value, str) and not Path(value).is_absolute()
    }


def _pictures(images: Path) -> list[Path]:
    pictures = sorted(path for path in images.iterdir() if path.suffix.lower() in PICTURES)
    if not pictures:
        raise DatasetError("holds no pictures", file=images)
    if len(pictures) > MOST_PICTURES:
        raise DatasetError(f"holds more than {MOST_PICTURES} pictures; score a part of them", file=images)
    return pictures


def _labels_folder(folder: Path, images: Path) -> Path:
    """Return where the labels lie: `labels` in place of the last `images` of the way, as in YOLO's form."""
    parts = list(images.relative_to(folder).parts)
    places = [at for at, part in enumerate(parts) if part == "images"]
    if not places:
        raise DatasetError("a split's folder must lie under `images`, its labels under `labels`", file=images)
    parts[places[-1]] = "labels"
    labels = folder.joinpath(*parts)
    if not labels.is_dir():
        raise DatasetError("is missing; it should hold a text file for each picture", file=labels)
    return labels


def _refuse_orphans(labels: Path, pictures: list[Path]) -> None:
    known = {picture.stem for picture in pictures}
    for file in sorted(labels.glob("*.txt")):
        if file.stem not in known and file.name != "classes.txt":
            raise DatasetError(
                "labels a picture that is not there; add the picture or take the file away", file=file
            )


def _sample(picture: Path, labels: Path, meaning: Mapping[int, ObjectClass | None], row: Row) -> Sample:
    lines = read_lines(labels) if labels.exists() else []
    found = {
        _box(line, meaning, labels, number): None
        for number, line in enumerate(lines, start=1)
        if line.strip()
    }
    # A line that stands twice is one box, as Ultralytics takes it.
    boxes = [(kind, xyxy) for kind, xyxy in found if kind is not None]
    return Sample(
        picture,
        np.array([xyxy for _, xyxy in boxes], np.float32).reshape(-1, 4),
        np.array([int(kind) for kind, _ in boxes], np.int64),
        row.get("group") or picture.name,
        row.get("note", ""),
    )


def read_box(line: str, file: Path, number: int) -> tuple[int, tuple[float, float, float, float]]:
    """Return class number and corners (x0, y0, x1, y1, shares of the picture) of one line of YOLO's form.

    Raises:
        DatasetError: it is none; `file` and `number` say where it stands.
    """
    values = line.split()
    if len(values) != _COLUMNS:
        raise DatasetError(
            f"has {len(values)} values; a box is: class, centre x, centre y, width, height (shares of the picture)",
            file=file,
            line=number,
        )
    try:
        kind, (x, y, width, height) = int(values[0]), map(float, values[1:])
    except ValueError as error:
        raise DatasetError(f"is no box: {line[:60]!r}", file=file, line=number) from error
    xyxy = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    in_range = all(-_TOLERANCE <= value <= 1 + _TOLERANCE for value in (x, y, width, height))
    if not (in_range and math.isfinite(sum(xyxy)) and width > 0 and height > 0):
        raise DatasetError(f"is no box inside the picture: {line[:60]!r}", file=file, line=number)
    return kind, xyxy


def _box(
    line: str, meaning: Mapping[int, ObjectClass | None], file: Path, number: int
) -> tuple[ObjectClass | None, tuple[float, ...]]:
    kind, xyxy = read_box(line, file, number)
    if kind not in meaning:
        raise DatasetError(f"class {kind} is not named in data.yaml", file=file, line=number)
    return meaning[kind], xyxy
