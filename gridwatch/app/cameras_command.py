# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch cameras`: the register of cameras, straight in the store, whether gridwatch runs or not.

A running gridwatch sees a change within seconds; no other camera is touched by it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import typer
import yaml

from events.errors import StoreError
from events.registry import CameraVersion, Changes, Registry
from events.stores.sql import Store
from gridwatch.app import set_aside
from gridwatch.app.bars import progress_bars
from gridwatch.app.camera_lines import CameraLine, CameraLines, read_lines
from gridwatch.app.cameras import times_of, why_off, zones_of
from gridwatch.app.csv_cameras import write_csv
from gridwatch.app.engine import served_by, why_unserved
from gridwatch.app.presets import NOTHING_ENABLED
from gridwatch.app.register import Unserved, is_of_this_environment, person, read_registry
from gridwatch.app.settings import Settings, load_settings
from gridwatch.app.storage import files_for_owner, store_url
from gridwatch.core.camera import Camera
from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError
from gridwatch.core.redact import redact

TAKEN, NOT_ALL_TAKEN = 0, 1
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
LINES_NAMED: Final = 20  # of those that have the same remark


def import_cameras(config: Path, file: Path, *, dry_run: bool, replace: bool) -> int:
    """Take the cameras of a file into the register and say of each line that was not taken why.

    Returns:
        0 where all were taken, 1 where some were not.

    Raises:
        InputError: the file cannot be read at all, or the store does not answer.
    """
    lines = _read(file)
    with _registry(config) as (_, registry):
        known = {one.camera_id: one.document for one in registry.cameras()[1]}
        lines = lines.upon(known).served(_unserved(config))
        removing = replace and bool(lines.taken) and not lines.refused
        changes = registry.put(lines.documents(), person(), replace=removing, dry=dry_run)
    _report(file, lines, changes, dry_run=dry_run)
    if replace and not removing:
        typer.echo(f"nothing was removed: {_why_kept(lines)}")
    return NOT_ALL_TAKEN if lines.refused else TAKEN


def check_cameras(config: Path, file: Path | None) -> int:
    """Say what is wrong with a file of cameras, or with the register; nothing is changed.

    Returns:
        0 where nothing is wrong, 1 otherwise.

    Raises:
        InputError: the file cannot be read at all, or the store does not answer.
    """
    if file is not None:
        lines = _read(file).served(_unserved(config))
        _report(file, lines, None, dry_run=True)
        return NOT_ALL_TAKEN if lines.refused or lines.unset() else TAKEN
    with _registry(config) as (settings, registry):
        found = read_registry(registry, unserved=_unserved(config))
        aside = set_aside.load(settings.state)
    for camera_id, problem in found.unusable.items():
        typer.echo(f"{camera_id}: {problem}{' here' if is_of_this_environment(problem) else ''}")
    for camera_id, entry in aside.items():
        typer.echo(f"{camera_id}: set aside since {entry.at}: {entry.reason}")
    wrong = len(found.unusable) + len(aside)
    typer.echo(f"{len(found.cameras)} cameras, revision {found.revision}; {wrong or 'nothing'} wrong")
    return NOT_ALL_TAKEN if wrong else TAKEN


def export_cameras(config: Path, file: Path | None) -> None:
    """Write the register as YAML (everything) or CSV (what fits into a line); secrets stay named by `${NAME}`.

    Raises:
        InputError: the file cannot be written, or the store does not answer.
    """
    with _registry(config) as (_, registry):
        _, versions = registry.cameras()
    documents = [{"id": one.camera_id, **one.document} for one in versions]
    lossy: list[str] = []
    if file is not None and file.suffix.lower() == ".csv":
        text, lossy = write_csv(documents)
        text = "\ufeff" + text  # the mark by which spreadsheets know UTF-8
    else:
        text = yaml.dump(
            {"cameras": documents}, Dumper=_DUMPER, allow_unicode=True, sort_keys=False, width=200
        )
    if file is None:
        typer.echo(text, nl=False)
    else:
        _write(file, text)
        typer.echo(f"{len(documents)} cameras are in {file}", err=True)
    if lossy:
        typer.echo(
            f"zones and resolvers of {len(lossy)} cameras do not fit into CSV, and are missing there: {_some(lossy)}",
            err=True,
        )


def list_cameras(config: Path) -> None:
    """Print every camera on a line, tabs between: what it is, how it is reached, whether it is watched, its version, times.

    Raises:
        InputError: the store does not answer.
    """
    with _registry(config) as (settings, registry):
        _, versions = registry.cameras()
        found = read_registry(registry, unserved=_unserved(config))
        aside = set_aside.load(settings.state)
    typer.echo("id\tname\tplace\tlooks for\treached through\twatched\tversion\tby\tonly at")
    by_id = {version.camera_id: version for version in versions}
    for camera in found.cameras:
        watched = _watched(camera, found.unusable.get(camera.camera_id), aside.get(camera.camera_id))
        only_at = ", ".join(times_of(camera.zones))
        cells = (*_shown(camera), watched, *_made(by_id.get(camera.camera_id)), only_at)
        typer.echo("\t".join(" ".join(cell.split()) for cell in cells))


def resume_camera(config: Path, camera_id: str) -> None:
    """Let a camera that was set aside be watched again.

    Raises:
        InputError: it is not set aside, or that cannot be written down.
    """
    settings, _ = load_settings(config)
    files_for_owner()
    try:
        was = set_aside.resume(settings.state, camera_id)
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror}", file=settings.state / set_aside.FILE
        ) from error
    if not was:
        known = _some(list(set_aside.load(settings.state))) or "none is"
        raise InputError(f"camera {camera_id!r} is not set aside; set aside: {known}")
    typer.echo(f"camera {camera_id} is watched again")


@contextmanager
def _registry(config: Path) -> Iterator[tuple[Settings, Registry]]:
    files_for_owner()
    settings, _ = load_settings(config)
    settings.state.mkdir(parents=True, exist_ok=True)
    try:
        with Store.open(store_url(settings)) as store:
            yield settings, Registry(store, SystemClock())
    except StoreError as error:
        raise InputError(f"the store cannot be used: {redact(str(error))}") from error


def _unserved(config: Path) -> Unserved:
    """Return what tells why the configured network cannot serve a camera; nothing, where there is no knowing it."""
    try:
        return partial(why_unserved, served_by(load_settings(config)[0].models))
    except InputError:  # `gridwatch check` names what is wrong with it
        return lambda _camera: ""


def _read(file: Path) -> CameraLines:
    with progress_bars() as bars:
        task = bars.add_task(f"reading {file.name}", total=None)
        return read_lines(file, lambda done, total: bars.update(task, completed=done, total=total))


def _report(file: Path, lines: CameraLines, changes: Changes | None, *, dry_run: bool) -> None:
    """Say what was taken and what was not, line by line; remarks that many lines share once."""
    for line in lines.refused:
        typer.echo(f"{file}:{line.number}: {line.camera_id or 'no id'}: not taken: {line.problem}")
    for note, numbers in _by_note(lines.taken).items():
        where = ", ".join(map(str, numbers[:LINES_NAMED])) + (", …" if len(numbers) > LINES_NAMED else "")
        typer.echo(f"{file}: {len(numbers)} taken with a remark: {note} (line {where})")
    if lines.unread:
        typer.echo(f"{file}: headings that mean nothing here: {', '.join(lines.unread)}")
    if unset := lines.unset():
        typer.echo(f"not set in this environment, and needed where gridwatch runs: {', '.join(unset)}")
    places = Counter(str(line.fields.place) for line in lines.taken if line.fields)
    typer.echo(f"{len(lines.lines)} cameras: {len(lines.taken)} taken, {len(lines.refused)} not")
    typer.echo(
        "by place: " + (", ".join(f"{place} {count}" for place, count in places.most_common()) or "none")
    )
    times = Counter(one for line in lines.taken if line.fields for one in times_of(zones_of(line.fields)))
    if times:
        told = "; ".join(f"{one} ({count})" for one, count in times.most_common(LINES_NAMED))
        typer.echo(f"looked for at these times only: {told}")
    if changes is not None:
        typer.echo(_told(changes) + (" (a dry run: nothing was changed)" if dry_run else ""))


def _why_kept(lines: CameraLines) -> str:
    if not lines.lines:
        return "the file names no camera, and --replace does not empty the register"
    return "a line that was not taken may be a camera that is to stay"


def _told(changes: Changes) -> str:
    named = {"new": changes.added, "changed": changes.changed, "unchanged": changes.unchanged}
    told = ", ".join(f"{len(ids)} {word}" for word, ids in named.items())
    return told + (f", {len(changes.removed)} removed: {_some(changes.removed)}" if changes.removed else "")


def _by_note(lines: Sequence[CameraLine]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for line in lines:
        for note in line.notes:
            found.setdefault(note, []).append(line.number)
    return found


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:LINES_NAMED]) + (", …" if len(ids) > LINES_NAMED else "")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8", newline="")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=file) from error


def _shown(camera: Camera) -> tuple[str, str, str, str, str]:
    kinds = sorted({kind.value for zone in camera.zones for kind in zone.kinds})
    return camera.camera_id, camera.name, camera.place, " ".join(kinds), camera.reached_through


def _watched(camera: Camera, problem: str | None, aside: set_aside.SetAside | None) -> str:
    if aside is not None:
        return f"set aside: {aside.reason}"
    if problem is not None:
        return f"unknown: {problem} here" if is_of_this_environment(problem) else f"off: {problem}"
    reason = why_off(camera)
    return "off: nothing enabled" if reason == NOTHING_ENABLED else reason or "yes"


def _made(version: CameraVersion | None) -> tuple[str, str]:
    return ("", "") if version is None else (str(version.version), version.actor)
