# SPDX-License-Identifier: AGPL-3.0-or-later
"""Writing networks into a folder such that it holds a whole catalogue at any moment, whatever fails meanwhile."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from models.errors import WeightsError

SCRATCH = ".gridwatch-adding-"


@contextmanager
def scratch_in(folder: Path) -> Iterator[Path]:
    """Give an empty folder inside `folder`, which is made if missing and locked against others that write there.

    On leaving, the scratch folder goes, and so does what was made of `folder` if nothing was moved into it.

    Raises:
        WeightsError: it cannot be written, or another process writes there.
    """
    with ExitStack() as stack:
        try:
            for missing in _missing(folder):
                missing.mkdir()
                stack.callback(_remove_if_empty, missing)
            number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            stack.callback(os.close, number)
            fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for left in folder.glob(f"{SCRATCH}*"):  # of a process that was killed: the lock is ours
                shutil.rmtree(left, ignore_errors=True)
            scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix=SCRATCH, dir=folder))
        except BlockingIOError as error:
            raise WeightsError(
                "another command is writing here; try again when it is done", file=folder
            ) from error
        except OSError as error:
            raise WeightsError(f"the folder cannot be written: {error.strerror}", file=folder) from error
        yield Path(scratch)


def _missing(folder: Path) -> list[Path]:
    """Return the folders that have to be made, outermost first."""
    missing: list[Path] = []
    while not os.path.lexists(folder):
        missing.insert(0, folder)
        folder = folder.parent
    return missing


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def write(file: Path, content: bytes) -> None:
    """Write a file and wait until the disk has it.

    Raises:
        WeightsError: it cannot be written.
    """
    try:
        with file.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise WeightsError(f"cannot be written: {error.strerror}", file=file) from error


def move_all(scratch: Path, folder: Path, names: Sequence[str]) -> None:
    """Move files from `scratch` into `folder`, the catalogue last: until then the old one holds.

    Raises:
        WeightsError: one cannot be moved; those that were new in the folder are taken away again.
    """
    new: list[Path] = []
    try:
        for name in names:
            if not os.path.lexists(folder / name):
                new.append(folder / name)
            (scratch / name).replace(folder / name)
    except OSError as error:
        for file in new:
            file.unlink(missing_ok=True)
        raise WeightsError(f"cannot be written: {error.strerror}", file=folder / name) from error
