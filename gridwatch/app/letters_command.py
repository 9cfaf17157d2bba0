# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch dead-letters`: which messages no queue took, and why; tells their incidents again. gridwatch may be running."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from events.dead_letters import DeadLetter, DeadLetters
from events.errors import StoreError, Undeliverable, UnknownIncident, UnknownLetter
from gridwatch.app.policy import policy_of
from gridwatch.app.settings import load_settings
from gridwatch.app.storage import open_store
from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError


def list_letters(config: Path, *, replayed: bool = False) -> None:
    """Print the dead letters: row, message, when it was given up, why, and the row that replayed it.

    Args:
        config: the configuration of the store.
        replayed: also those that were replayed.

    Raises:
        InputError: the configuration is wrong, or the store does not answer.
    """
    with _letters(config) as letters:
        found = [one for one in _all(letters) if replayed or one.replayed_seq is None]
    table = Table("row", "message", "given up", "why", "replayed by")
    for one in found:
        at = one.at.astimezone().strftime("%Y-%m-%d %H:%M")
        again = "" if one.replayed_seq is None else str(one.replayed_seq)
        table.add_row(str(one.seq), escape(one.message_id), at, escape(one.reason), again)
    if found:
        Console(highlight=False).print(table)
    else:
        typer.echo("no dead letters")


def replay_letters(config: Path, row: int | None) -> int:
    """Tell the incident of one dead letter again, or (None) of each; return the exit code: 1 where one could not be.

    Raises:
        InputError: the configuration is wrong, row `row` is no dead letter, or the store does not answer.
    """
    failed = False
    with _letters(config) as letters:
        rows = [one.seq for one in _all(letters) if one.replayed_seq is None] if row is None else [row]
        for seq in rows:
            try:
                letter = letters.replay(seq)
            except UnknownLetter as error:
                raise InputError(str(error)) from error
            except (Undeliverable, UnknownIncident) as error:
                typer.echo(f"row {seq}: {error}", err=True)
                failed = True
            else:
                typer.echo(f"row {seq}: {letter.incident_id} is told again by row {letter.replayed_seq}")
    return int(failed)


def _all(letters: DeadLetters) -> Iterator[DeadLetter]:
    after = 0
    while page := letters.list(after):
        yield from page
        after = page[-1].seq


@contextmanager
def _letters(config: Path) -> Iterator[DeadLetters]:
    settings, _ = load_settings(config)
    try:
        with open_store(settings) as store:  # which network runs is not asked: a replay leaves that open
            yield DeadLetters(store, SystemClock(), policy_of(settings))
    except StoreError as error:
        raise InputError(f"the store cannot be used: {error}") from error
