# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch audit verify`: checks the journal's chain, and against the case system's copy. What is checked stands in `events.audit`."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import typer

from events.audit import Copy, Findings, verify
from events.errors import QueueError, StoreError
from events.queues.port import CaseQueue
from events.shown import entries
from events.stores.sql import Store
from gridwatch.app.bars import progress_bars
from gridwatch.app.policy import policy_of
from gridwatch.app.settings import load_settings
from gridwatch.app.storage import open_queue, open_store
from gridwatch.core.errors import InputError
from gridwatch.core.redact import redact


def verify_command(config: Path, copy: Path | None = None, *, queue: bool = False) -> int:
    """Check the journal of a configuration, running or not; print what was found. Return 0 where all is well, else 1.

    Args:
        config: a gridwatch.yaml.
        copy: the case system's copy: JSON lines with source, id, journalepoch, journalseq and journalhash.
        queue: take what the stream holds as the copy.

    Raises:
        InputError: the configuration or the file is wrong, there is no store, or `copy` and `queue` are both given.
    """
    if copy is not None and queue:
        raise InputError("name a file or the queue as the copy, not both")
    settings, _ = load_settings(config)
    with ExitStack() as stack:
        store = stack.enter_context(open_store(settings))
        copies: Iterator[Copy] = iter(())
        if copy is not None:
            copies = copies_in(copy)
        elif queue:
            copies = copies_on(stack.enter_context(open_queue(settings)))
        try:
            findings = _watched(store, copies, policy_of(settings).source)
        except (StoreError, QueueError) as error:
            typer.echo(f"{redact(str(error))}; nothing was verified", err=True)
            return 1
    _say(findings, compared=copy is not None or queue)
    return 1 if findings else 0


def copies_in(file: Path) -> Iterator[Copy]:
    """Yield the copies of a file of JSON lines.

    Raises:
        InputError: it cannot be read, or a line is no message.
    """
    try:
        with file.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _copy_of(line, f"{file}, line {number}")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file} cannot be read: {error}") from error


def _copy_of(line: str, where: str) -> Copy:
    try:
        fields = json.loads(line)
    except ValueError as error:
        raise InputError(f"{where}: no JSON") from error
    copy = Copy.of(fields) if isinstance(fields, dict) else None
    if copy is None:
        raise InputError(f"{where}: it must say source, id, journalepoch, journalseq and journalhash")
    return copy


def copies_on(queue: CaseQueue) -> Iterator[Copy]:
    """Yield what the stream holds of any journal; entries of other producers are passed over."""
    for entry in entries(queue):
        copy = Copy.of(entry.fields)
        if copy is not None:
            yield copy


def _watched(store: Store, copies: Iterator[Copy], source: str) -> Findings:
    with progress_bars() as bars:
        task = bars.add_task("rows", total=None)

        def progress(done: int, total: int) -> None:
            bars.update(task, completed=done, total=total)

        return verify(store, copies, progress, source=source)


def _say(findings: Findings, *, compared: bool) -> None:
    typer.echo(str(findings), err=bool(findings))
    if findings.foreign:
        typer.echo(f"{findings.foreign} messages are of other gridwatches and say nothing of this journal")
    if findings.left_behind:
        typer.echo(
            f"{findings.left_behind} messages are of rows written after the backup that was restored here; "
            "what they told was taken from the stream then"
        )
    if not compared and not findings:
        typer.echo("a chain that was rewritten as a whole shows only against a copy: --copy FILE or --queue")
