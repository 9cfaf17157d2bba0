# SPDX-License-Identifier: AGPL-3.0-or-later
"""Backs up a running system: its database as it is at one moment, and the evidence that belongs to it.

Not in a backup: the case queue (it is shared, and has its own), the configuration, and the key that signs links.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from events.archive import DATABASE, EVIDENCE_NAME, ArchiveWriter
from events.errors import BackupDamaged
from events.stores.backing import Contents, Progress, silent, snapshot
from events.stores.sql import Store
from events.times import utc_text
from gridwatch.core.clock import Clock


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds.

    Attributes:
        evidence: how many files of evidence.
        bytes: of all files together.
        damaged: files of evidence whose content is not what their name says; they are not in the backup.
    """

    contents: Contents
    evidence: int
    bytes: int
    damaged: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class BackupSource:
    """What is backed up: an open store, the folder of its evidence, and who it is."""

    store: Store
    evidence: Path
    source: str
    version: str


def back_up(origin: BackupSource, to: Path, clock: Clock, progress: Progress = silent) -> BackupReport:
    """Write a backup of a system that may go on recording: into a folder, or one file where the name ends in `.tar`.

    Raises:
        InputError: `to` is there already.
        StoreError: the database does not answer.
        BackupError: the backup cannot be written; nothing of it is left.
    """
    with ArchiveWriter(to) as archive:
        held = snapshot(origin.store, archive.scratch, progress)
        database = archive.add(DATABASE, archive.scratch, link=True)
        evidence, damaged = _add_evidence(archive, origin.evidence, progress)
        archive.finish(
            {
                "made_at": utc_text(clock.now()),
                "gridwatch": origin.version,
                "source": origin.source,
                "database_sha256": database,
                "evidence_files": evidence,
                **asdict(held),
            }
        )
        return BackupReport(held, evidence, archive.bytes, tuple(damaged))


def _add_evidence(archive: ArchiveWriter, folder: Path, progress: Progress) -> tuple[int, list[Path]]:
    """Take in every file of evidence; return how many, and those that are damaged.

    They are listed after the copy of the database was made: what a row names was stored before it.
    """
    found, damaged, taken = list(_evidence(folder)), list[Path](), 0
    for number, (name, file, sha256) in enumerate(found, 1):
        try:
            archive.add(name, file, sha256=sha256, link=True)
            taken += 1
        except FileNotFoundError:
            pass  # retention took it meanwhile
        except BackupDamaged:
            damaged.append(file)
        progress("evidence", number, len(found))
    return taken, damaged


def _evidence(folder: Path) -> Iterator[tuple[str, Path, str]]:
    """Yield name in the backup, file and hash of all that is stored."""
    for file in sorted(folder.glob("??/*")):
        name = f"evidence/{file.parent.name}/{file.name}"
        if (matched := EVIDENCE_NAME.fullmatch(name)) and file.is_file():
            yield name, file, matched[1]
