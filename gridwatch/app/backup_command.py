# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch backup` and `gridwatch restore`. What they do stands in `events.backup` and `events.restoring`."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import typer
from rich.progress import TaskID

from events.backup import BackupReport, BackupSource, back_up
from events.errors import BackupError, QueueError, StoreError
from events.restoring import Restore, RestoreReport, RestoreTarget
from events.stores.sql import Store
from gridwatch.app.bars import progress_bars
from gridwatch.app.policy import policy_of
from gridwatch.app.settings import Settings, load_settings
from gridwatch.app.storage import files_for_owner, open_queue, store_url
from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError
from gridwatch.core.redact import redact

MIB = 1 << 20


def backup_command(config: Path, to: Path) -> None:
    """Back up the system of a configuration, running or not, and print what the backup holds.

    Raises:
        InputError: the configuration is wrong, or `to` is there already.
        typer.Exit: it failed; one sentence was printed.
    """
    files_for_owner()
    settings, _ = load_settings(config)
    if settings.store is None and not (settings.state / "gridwatch.db").is_file():
        raise InputError(f"there is no store in {settings.state}: nothing to back up")
    with _told("the backup was not made"), Store.open(store_url(settings)) as store, _bars() as progress:
        origin = BackupSource(store, settings.state / "evidence", _source(settings), version("gridwatch"))
        report = back_up(origin, to, SystemClock(), progress)
    _say_backed_up(report, to)


def restore_command(
    config: Path, backup: Path, *, without_queue: bool = False, follow: Sequence[str] = ()
) -> None:
    """Restore a backup into the empty store of a configuration, and print what became of it.

    Raises:
        InputError: the configuration is wrong, the store is not empty, there is no such backup, the queue cannot be had,
            or the stream shows another store's messages.
        typer.Exit: it failed; one sentence was printed.
    """
    files_for_owner()
    settings, _ = load_settings(config)
    settings.state.mkdir(parents=True, exist_ok=True)
    with _told("nothing was restored"), contextlib.ExitStack() as stack:
        store = stack.enter_context(Store.open(store_url(settings)))
        queue = None if without_queue else stack.enter_context(open_queue(settings, alone=True))
        target = RestoreTarget(store, settings.state / "evidence", settings.state, _source(settings))
        progress = stack.enter_context(_bars())
        try:
            report = Restore(target, queue, SystemClock(), follow=follow, progress=progress).run(backup)
        except QueueError as error:
            raise InputError(
                f"{redact(str(error))}. A restore reads what the stream shows: let it answer, or restore with "
                "--without-queue, which docs/backup.md describes"
            ) from error
    _say_restored(report)


def _source(settings: Settings) -> str:
    return policy_of(settings).source


@contextlib.contextmanager
def _told(outcome: str) -> Iterator[None]:
    """Turn what failed into one sentence and exit code 1."""
    try:
        yield
    except (BackupError, StoreError) as error:
        typer.echo(f"{redact(str(error))}; {outcome}", err=True)
        raise typer.Exit(1) from error


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yield what shows progress: one bar for each part of the work; none before there is any."""
    bars = progress_bars()
    tasks: dict[str, TaskID] = {}

    def show(what: str, done: int, total: int) -> None:
        if what not in tasks:
            bars.start()
            tasks[what] = bars.add_task(what, total=total)
        bars.update(tasks[what], completed=done, total=total)

    try:
        yield show
    finally:
        if tasks:
            bars.stop()


def _say_backed_up(report: BackupReport, to: Path) -> None:
    held = report.contents
    typer.echo(
        f"{to}: {held.incidents} incidents, {held.rows} rows up to {held.epoch}:{held.last_seq}, "
        f"{report.evidence} files of evidence, {report.bytes / MIB:.1f} MiB"
    )
    for file in report.damaged:
        typer.echo(f"left out, its content is not what its name says: {file}", err=True)


def _say_who_may_call(report: RestoreReport) -> None:
    if report.tokens == 0:
        typer.echo(
            "the backup holds no token: whoever calls from this machine may do everything, other machines are not "
            "served; if there were tokens since, make new ones now: gridwatch tokens add NAME --role ROLE",
            err=True,
        )
        return
    typer.echo(
        f"all {report.tokens} tokens of the backup were ended ({report.tokens_ended} were not yet), because any of them "
        "may have been revoked since it was made; nobody is let in until you make new ones: "
        "gridwatch tokens add NAME --role ROLE",
        err=True,
    )


def _say_restored(report: RestoreReport) -> None:
    epoch = report.epoch
    typer.echo(
        f"{report.contents.incidents} incidents, {report.contents.rows} rows; goes on as epoch {epoch.epoch} "
        f"from row {epoch.first_seq}, after {epoch.follows}:{epoch.followed_until}; the stream gave "
        f"{report.adopted} incidents that the backup did not know and {report.updated} newer ones; "
        f"{report.evidence} files of evidence"
    )
    _say_who_may_call(report)
    if report.unreadable:
        typer.echo(f"{report.unreadable} incidents of the stream cannot be read and were left out", err=True)
    if report.trimmed:
        typer.echo("the stream was trimmed since the backup: it may not have told all", err=True)
    if report.damaged:
        typer.echo(
            f"{report.damaged} files of evidence are damaged in the backup and were left out", err=True
        )
