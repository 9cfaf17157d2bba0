# SPDX-License-Identifier: AGPL-3.0-or-later
"""A backup on disk: a folder, or the same as one tar file. Knows names, hashes and durability; nothing of incidents.

It holds `gridwatch.db`, `evidence/<aa>/<sha256><suffix>`, `SHA256SUMS` (for `sha256sum -c`) and `manifest.json`. It
takes its name in one step when everything is on the disk: under that name it is whole or not there.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Protocol, Self

from events.errors import BackupDamaged, BackupError
from gridwatch.core.errors import InputError

FORMAT: Final = 1
DATABASE, SUMS, MANIFEST = "gridwatch.db", "SHA256SUMS", "manifest.json"
EVIDENCE_NAME: Final = re.compile(r"evidence/[0-9a-f]{2}/([0-9a-f]{64})((?:\.[a-z0-9]{1,12}){1,3})")
BLOCK_BYTES = 1 << 20
MANIFEST_MAX_BYTES = 1 << 20


@contextlib.contextmanager
def workplace(folder: Path, busy: str) -> Iterator[Path]:
    """Make a folder to work in, for one process at a time, and remove it; what a killed one left there goes first.

    Raises:
        InputError: another process works there; `busy` says so.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        _clear(folder)
        try:
            yield folder
        finally:
            with contextlib.suppress(OSError):
                _clear(folder)
                folder.rmdir()
    except BlockingIOError as error:
        raise InputError(busy) from error
    finally:
        os.close(lock)


class ArchiveWriter:
    """Writes a backup beside its place and moves it there when it is whole. Use it as a context; `finish` completes it.

    Args:
        to: the place: a tar file where its name ends in `.tar`, else a folder. It must not be there, or be empty.
    """

    def __init__(self, to: Path) -> None:
        self._to, self._is_tar = to, to.suffix == ".tar"
        self._work = to.parent / f".{to.name}.unfinished"
        self._inside = self._work / ("archive.tar" if self._is_tar else "folder")
        self._stack = contextlib.ExitStack()
        self._tar: tarfile.TarFile | None = None
        self._sums: list[str] = []
        self.bytes = 0

    def __enter__(self) -> Self:
        if self._to.exists() and (self._is_tar or not self._to.is_dir() or any(self._to.iterdir())):
            raise InputError(f"{self._to} is there already; name a new folder, or a new file ending in .tar")
        with _as_backup_error(self._to), self._stack:
            busy = f"another backup is just being written to {self._to}"
            self._stack.enter_context(workplace(self._work, busy))
            if self._is_tar:
                self._tar = tarfile.open(self._inside, "w", format=tarfile.PAX_FORMAT)
                self._stack.callback(self._close_tar)
                self._inside.chmod(0o600)
            else:
                self._inside.mkdir(mode=0o700)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def scratch(self) -> Path:
        """A place for one file on the same disk; it is gone at the end."""
        return self._work / "scratch"

    def add(self, name: str, file: Path, *, sha256: str | None = None, link: bool = False) -> str:
        """Take a file in and return its hash.

        Args:
            name: in the backup.
            file: whose content it has; it must not change meanwhile.
            sha256: what its hash must be, where that is known.
            link: whether the backup may share it with its owner, who never changes it; elsewhere it is copied.

        Raises:
            FileNotFoundError: it is gone.
            BackupDamaged: its hash is another.
            BackupError: it cannot be written.
        """
        with file.open("rb") as source, _as_backup_error(self._to):
            size = os.fstat(source.fileno()).st_size
            found = _hash_of(source)
            if sha256 is not None and found != sha256:
                raise BackupDamaged(f"{file} is not what its hash says")
            source.seek(0)
            if self._tar is None:
                _put(source, file, self._inside / name, link=link)
            else:
                self._add_to_tar(name, source, size)
        self._note(name, found, size)
        return found

    def finish(self, manifest: Mapping[str, Any]) -> None:
        """Complete the backup: sums, manifest, everything on the disk, its name.

        Raises:
            BackupError: it cannot be written.
        """
        with _as_backup_error(self._to):
            sums = "".join(self._sums).encode()
            self._add_bytes(SUMS, sums)
            whole = {"format": FORMAT, **manifest, "sums_sha256": hashlib.sha256(sums).hexdigest()}
            self._add_bytes(MANIFEST, (json.dumps(whole, ensure_ascii=False, indent=2) + "\n").encode())
            if self._tar is not None:
                self._tar.close()
                _sync(self._inside)
            else:
                for folder, _, _ in os.walk(self._inside):
                    _sync(Path(folder))
            self._inside.rename(self._to)
            _sync(self._to.parent)

    def _add_to_tar(self, name: str, source: BinaryIO, size: int) -> None:
        if self._tar is None:
            raise BackupError("the backup is not open")
        member = tarfile.TarInfo(name)
        member.size, member.mode = size, 0o600
        self._tar.addfile(member, source)

    def _add_bytes(self, name: str, content: bytes) -> None:
        if self._tar is not None:
            self._add_to_tar(name, io.BytesIO(content), len(content))
            return
        with _new_file(self._inside / name) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())

    def _note(self, name: str, sha256: str, size: int) -> None:
        self._sums.append(f"{sha256}  {name}\n")
        self.bytes += size

    def _close_tar(self) -> None:
        with contextlib.suppress(OSError):  # a full disk, told already
            if self._tar is not None:
                self._tar.close()


class Archive(Protocol):
    """A finished backup, open for reading."""

    manifest: Mapping[str, Any]
    sums: Mapping[str, str]

    def read(self, name: str) -> BinaryIO:
        """Open one of its files."""
        ...


class _Opened:
    """A backup whose manifest and sums were read and belong together."""

    def __init__(self, read: Callable[[str], BinaryIO]) -> None:
        self.read = read
        self.manifest = _manifest(read)
        self.sums = _sums(read, self.manifest)


@contextlib.contextmanager
def opened(place: Path) -> Iterator[Archive]:
    """Open a backup, folder or file.

    Raises:
        InputError: there is none.
        BackupDamaged: its manifest and its sums do not belong together.
        BackupError: it cannot be read.
    """
    with contextlib.ExitStack() as stack:
        with _as_backup_error(place):
            read = _files_of(place, stack)
            archive = _Opened(read)
        yield archive


def _files_of(place: Path, stack: contextlib.ExitStack) -> Callable[[str], BinaryIO]:
    if place.is_dir():
        return lambda name: (place / name).open("rb")
    if not place.is_file():
        raise InputError(f"there is no backup {place}")
    try:
        tar = stack.enter_context(tarfile.open(place, "r:"))  # noqa: SIM115  the caller's stack closes it
        members = {member.name: member for member in tar if member.isreg()}
    except tarfile.TarError as error:
        raise InputError(f"{place} is no backup of gridwatch") from error

    def read(name: str) -> BinaryIO:
        found = tar.extractfile(members[name]) if name in members else None
        if found is None:
            raise FileNotFoundError(name)
        return found  # type: ignore[return-value]  # its class says IO[bytes]

    return read


def extract(archive: Archive, name: str, to: Path) -> bool:
    """Write one file of a backup to its place, durably, and compare its hash; tell whether it was missing there.

    Raises:
        BackupDamaged: it is not there, or not what its hash says; nothing was written.
        BackupError: it cannot be written.
    """
    if to.is_file():
        return False
    part = to.parent / f".new-{to.name}"
    with _as_backup_error(to):
        to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            part.unlink(missing_ok=True)
            with archive.read(name) as source, _new_file(part) as file:
                found = _hash_of(source, file)
                file.flush()
                os.fsync(file.fileno())
            if found != archive.sums.get(name):
                raise BackupDamaged(f"{name} in the backup is not what its hash says")
            part.rename(to)
            _sync(to.parent)
        except FileNotFoundError as error:
            raise BackupDamaged(f"{name} is missing in the backup") from error
        finally:
            part.unlink(missing_ok=True)
    return True


def _manifest(read: Callable[[str], BinaryIO]) -> Mapping[str, Any]:
    try:
        with read(MANIFEST) as file:
            found = json.loads(file.read(MANIFEST_MAX_BYTES))
    except FileNotFoundError as error:
        raise InputError("this is no backup of gridwatch: it has no manifest.json") from error
    except ValueError as error:
        raise BackupDamaged("the backup's manifest.json cannot be read") from error
    if not isinstance(found, dict) or not isinstance(found.get("format"), int):
        raise BackupDamaged("the backup's manifest.json names no format")
    if found["format"] > FORMAT:
        raise InputError(
            f"the backup has format {found['format']}, this gridwatch reads up to {FORMAT}; use a newer one"
        )
    return found


def _sums(read: Callable[[str], BinaryIO], manifest: Mapping[str, Any]) -> Mapping[str, str]:
    try:
        with read(SUMS) as file:
            content = file.read()
    except FileNotFoundError as error:
        raise BackupDamaged("SHA256SUMS is missing in the backup") from error
    if hashlib.sha256(content).hexdigest() != manifest.get("sums_sha256"):
        raise BackupDamaged("the backup's SHA256SUMS is not what its manifest says")
    pairs = (line.split("  ", 1) for line in content.decode().splitlines())
    return {name: sha256 for sha256, name in pairs}


def _put(source: BinaryIO, file: Path, to: Path, *, link: bool) -> None:
    to.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if link:
        with contextlib.suppress(OSError):  # another disk, or a file system without links
            to.hardlink_to(file)
            return
    _copy(source, to)


def copy_for_owner(file: Path, to: Path) -> None:
    """Copy a file to a place that nobody else may read, durably: whole, or not at all.

    Raises:
        BackupError: it cannot be written.
    """
    part = to.parent / f".new-{to.name}"
    with _as_backup_error(to):
        part.unlink(missing_ok=True)
        with file.open("rb") as source:
            _copy(source, part)
        part.rename(to)
        _sync(to.parent)


def _copy(source: BinaryIO, to: Path) -> None:
    with _new_file(to) as target:
        shutil.copyfileobj(source, target, BLOCK_BYTES)
        target.flush()
        os.fsync(target.fileno())


def _new_file(path: Path) -> BinaryIO:
    """Open a file that is not there yet for writing; its owner alone may read it, from the first byte on."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _hash_of(source: BinaryIO, copy: BinaryIO | None = None) -> str:
    """Hash what is left of `source`, and write it to `copy` on the way."""
    found = hashlib.sha256()
    while block := source.read(BLOCK_BYTES):
        found.update(block)
        if copy is not None:
            copy.write(block)
    return found.hexdigest()


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _sync(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


@contextlib.contextmanager
def _as_backup_error(place: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, tarfile.TarError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BackupError(f"{place}: {reason or error}") from error
