# SPDX-License-Identifier: AGPL-3.0-or-later
"""The progress bars of long commands: what is done, how much, how long it will take. On standard error."""

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)


def progress_bars(*more: ProgressColumn, console: Console | None = None) -> Progress:
    """Return bars, to be used as a context; `more` columns follow the usual ones."""
    usual = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*usual, *more, console=console or Console(stderr=True))
