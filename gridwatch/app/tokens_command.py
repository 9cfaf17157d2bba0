# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch tokens`: hands out, lists and ends tokens, straight in the store, whether gridwatch runs or not."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from events.errors import StoreError
from events.roles import Role
from events.stores.sql import Store
from events.tokens import TokenBook
from gridwatch.app.settings import load_settings
from gridwatch.app.storage import files_for_owner, store_url
from gridwatch.core.clock import SystemClock
from gridwatch.core.errors import InputError


def add_token(config: Path, name: str, role: Role, days: float) -> None:
    """Make a token and print it, alone on standard output; what it is stands on standard error.

    Raises:
        InputError: the name is taken or cannot be one, or the store does not answer.
    """
    with _tokens(config) as tokens:
        token, secret = tokens.add(name, role, timedelta(days=days))
    told = Console(stderr=True, highlight=False, soft_wrap=True)
    until = "" if token.expires_at is None else f", until {_shown(token.expires_at)}"
    told.print(
        f"token {token.token_id} for {escape(name)}, role {role.value}{until}; it is shown only this once:"
    )
    typer.echo(secret)


def list_tokens(config: Path) -> None:
    """Print every token: id, name, role, whether it is valid, until when, and when it was used last.

    Raises:
        InputError: the store does not answer.
    """
    with _tokens(config) as tokens:
        known = tokens.all()
    now = datetime.now(UTC)
    table = Table("id", "name", "role", "state")
    for name in ("expires", "last used"):
        table.add_column(name, no_wrap=True)
    for token in known:
        role = "unknown" if token.role is None else token.role.value
        times = (_shown(token.expires_at), _shown(token.last_used_at))
        table.add_row(token.token_id, escape(token.name), role, token.state(now), *times)
    Console(highlight=False).print(table)
    if not known:
        typer.echo("no token yet: only this machine is served, and it needs none", err=True)


def revoke_token(config: Path, which: str) -> None:
    """End a token, named by id or name; who brings it is refused within a second.

    Raises:
        InputError: there is no such token, or the store does not answer.
    """
    with _tokens(config) as tokens:
        token = tokens.revoke(which)
    typer.echo(f"token {token.token_id} of {token.name} admits nobody any more")


@contextmanager
def _tokens(config: Path) -> Iterator[TokenBook]:
    files_for_owner()
    settings, _ = load_settings(config)
    settings.state.mkdir(parents=True, exist_ok=True)
    try:
        with Store.open(store_url(settings)) as store:
            yield TokenBook(store, SystemClock())
    except StoreError as error:
        raise InputError(f"the store cannot be used: {error}") from error


def _shown(at: datetime | None) -> str:
    return "" if at is None else at.astimezone().strftime("%Y-%m-%d %H:%M")
