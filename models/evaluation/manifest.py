# SPDX-License-Identifier: AGPL-3.0-or-later
"""MANIFEST.tsv: one line per picture, tabs between the columns that its first line names. Optional for boxes."""

from collections.abc import Mapping
from pathlib import Path

from models.evaluation.errors import DatasetError

MANIFEST = "MANIFEST.tsv"
MOST_BYTES = 64 << 20

Row = Mapping[str, str]


def read_manifest(folder: Path) -> dict[str, Row] | None:
    """Return the manifest's rows by the picture's path relative to `folder`; None where there is no manifest.

    Raises:
        DatasetError: it is unreadable, has no column `file`, or a line has another number of columns.
    """
    file = folder / MANIFEST
    if not file.exists():
        return None
    lines = read_lines(file)
    if not lines or "file" not in (columns := lines[0].split("\t")):
        raise DatasetError(
            "needs a first line with the names of the columns, `file` among them", file=file, line=1
        )
    rows: dict[str, Row] = {}
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip():
            continue
        values = line.split("\t")
        if len(values) != len(columns):
            raise DatasetError(
                f"has {len(values)} columns where the first line names {len(columns)}; mend the line",
                file=file,
                line=number,
            )
        row = dict(zip(columns, values, strict=True)) | {"line": str(number)}
        rows[row["file"]] = row
    return rows


def read_lines(file: Path) -> list[str]:
    """Return a small text file's lines.

    Raises:
        DatasetError: it cannot be read, is no UTF-8 text or is larger than 64 MiB.
    """
    try:
        if file.stat().st_size > MOST_BYTES:
            raise DatasetError("is larger than 64 MiB, which no list of pictures or boxes is", file=file)
        return file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DatasetError(f"cannot be read: {error.strerror}", file=file) from error
    except UnicodeDecodeError as error:
        raise DatasetError("is not UTF-8 text", file=file) from error
