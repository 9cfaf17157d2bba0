# SPDX-License-Identifier: AGPL-3.0-or-later
"""Reads and writes tokens: their names, roles and hashes, never a token itself. Decides nothing about who may do what."""

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update

from events.stores.schema import TOKENS
from events.times import utc_text


def all_rows(connection: Connection) -> list[Mapping[str, Any]]:
    """Return every token, oldest first, as the table's columns."""
    found = connection.execute(select(TOKENS).order_by(TOKENS.c.made_at, TOKENS.c.token_id)).mappings()
    return [dict(values) for values in found]


def add(connection: Connection, values: Mapping[str, Any]) -> None:
    """Write a new token."""
    connection.execute(insert(TOKENS).values(dict(values)))


def revoke(connection: Connection, token_id: str, at: datetime) -> None:
    """Write when a token was revoked; the first time stands."""
    one = update(TOKENS).where(TOKENS.c.token_id == token_id, TOKENS.c.revoked_at.is_(None))
    connection.execute(one.values(revoked_at=utc_text(at)))


def revoke_all(connection: Connection, at: datetime) -> int:
    """Write when every token was revoked that was not yet; return how many."""
    left = update(TOKENS).where(TOKENS.c.revoked_at.is_(None))
    return connection.execute(left.values(revoked_at=utc_text(at))).rowcount


def note_used(connection: Connection, token_ids: Collection[str], at: datetime) -> None:
    """Write when tokens were last used."""
    connection.execute(
        update(TOKENS).where(TOKENS.c.token_id.in_(list(token_ids))).values(last_used_at=utc_text(at))
    )


def forget(connection: Connection, token_ids: Collection[str]) -> None:
    """Delete tokens that admit nobody any more."""
    connection.execute(delete(TOKENS).where(TOKENS.c.token_id.in_(list(token_ids))))
