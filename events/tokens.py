# SPDX-License-Identifier: AGPL-3.0-or-later
"""Tokens by which programs and seats are known: made, listed, revoked. Not what a role may do: that is the door's business.

A token is shown once, when it is made; the store keeps its SHA-256. It is 256 random bits, so that a plain hash is
enough and nobody can guess one. Every token ends by itself.
"""

import hashlib
import math
import re
import secrets
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from events.roles import Role
from events.stores import tokens as rows
from events.stores.sql import Store
from events.times import parse_utc, utc_text
from gridwatch.core.clock import Clock
from gridwatch.core.errors import InputError

PREFIX: Final = "gw_"  # so that one that was published by mistake is found by what looks for secrets
MOST: Final = 1_000
LONGEST: Final = timedelta(days=3_650)
SOON: Final = timedelta(days=14)  # by then somebody should make the next one
_NAME = re.compile(r"[\w][\w.\-]{0,63}")
_ID_BYTES, _TOKEN_BYTES = 4, 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What is known of a token; the token itself is known to nobody but its holder. Times are aware UTC.

    `role` is None where another version of gridwatch wrote one that is not known here: it admits nobody.
    """

    token_id: str
    name: str
    role: Role | None
    made_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None

    def state(self, now: datetime) -> str:
        """Return valid, expired, revoked or unknown_role."""
        if self.revoked_at is not None:
            return "revoked"
        if self.role is None:
            return "unknown_role"
        return "expired" if self.expires_at is not None and self.expires_at <= now else "valid"

    def admits(self, now: datetime) -> bool:
        """Tell whether who brings it is let in."""
        return self.state(now) == "valid"


class TokenBook:
    """The tokens of one store. Safe for several threads and processes; every method may raise `StoreError`."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    def add(self, name: str, role: Role, valid: timedelta) -> tuple[Token, str]:
        """Make a token; return what is known of it, and the token, which nobody can show again.

        Raises:
            InputError: the name is taken or cannot be one, the time is out of range, or there are too many.
        """
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} cannot name a token: letters, digits, '.', '_' and '-', at most 64 of them; "
                "for a seat a staff code, no person's name"
            )
        if not timedelta(0) < valid <= LONGEST:
            raise InputError(f"a token is valid for more than nothing and at most {LONGEST.days} days")
        now, secret = self._clock.now(), PREFIX + secrets.token_urlsafe(_TOKEN_BYTES)
        token = Token(
            token_id=secrets.token_hex(_ID_BYTES), name=name, role=role, made_at=now, expires_at=now + valid
        )
        with self._store.write() as tx:
            known = [_token(row) for row in rows.all_rows(tx.connection)]
            if any(other.name == name and other.admits(now) for other in known):
                raise InputError(
                    f"there is a valid token named {name!r}; revoke it first, or take another name"
                )
            self._make_room(tx.connection, known, now)
            rows.add(tx.connection, _values(token, digest(secret)))
        return token, secret

    def all(self) -> list[Token]:
        """Return every token, oldest first; those that admit nobody any more included."""
        return list(self.by_hash().values())

    def by_hash(self) -> Mapping[str, Token]:
        """Return every token by the SHA-256 that stands for it."""
        with self._store.read() as connection:
            found = rows.all_rows(connection)
        return {row["hash"]: _token(row) for row in found}

    def revoke(self, which: str) -> Token:
        """End a token, named by its id or by its name, for good; one that was revoked already stays so.

        Raises:
            InputError: there is no such token.
        """
        now = self._clock.now()
        with self._store.write() as tx:
            known = [_token(row) for row in rows.all_rows(tx.connection)]
            found = [token for token in known if which == token.token_id]
            found += [token for token in known if which == token.name]
            found.sort(key=lambda token: not token.admits(now))  # of several by one name the valid one
            if not found:
                raise InputError(f"there is no token {which!r}; `gridwatch tokens list` shows them")
            rows.revoke(tx.connection, found[0].token_id, now)
        return found[0]

    def revoke_all(self) -> int:
        """End every token that was not ended yet; return how many."""
        with self._store.write() as tx:
            return rows.revoke_all(tx.connection, self._clock.now())

    def note_used(self, token_ids: Collection[str]) -> None:
        """Record that tokens were used just now."""
        with self._store.write() as tx:
            rows.note_used(tx.connection, token_ids, self._clock.now())

    @staticmethod
    def _make_room(connection: Connection, known: list[Token], now: datetime) -> None:
        """Forget the oldest dead tokens where there are too many."""
        surplus = len(known) - MOST + 1
        if surplus <= 0:
            return
        dead = [token.token_id for token in known if not token.admits(now)]
        if len(dead) < surplus:
            raise InputError(f"{MOST} valid tokens are the most that there may be; revoke some first")
        rows.forget(connection, dead[:surplus])


def ending_soon(tokens: Iterable[Token], now: datetime) -> list[Token]:
    """Return the valid tokens that end within 14 days."""
    return [
        token
        for token in tokens
        if token.admits(now) and token.expires_at is not None and token.expires_at - now <= SOON
    ]


def seconds_to_first_end(tokens: Iterable[Token], now: datetime) -> float:
    """Return in how many seconds the first valid token ends; NaN where none is valid, infinity where none ends."""
    valid = [token for token in tokens if token.admits(now)]
    ends = [(token.expires_at - now).total_seconds() for token in valid if token.expires_at is not None]
    return min(ends, default=math.inf if valid else math.nan)


def digest(secret: str) -> str:
    """Return what the store keeps of a token: its SHA-256, hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "backslashreplace")).hexdigest()


def _token(row: Mapping[str, Any]) -> Token:
    times = {
        name: None if row[name] is None else parse_utc(row[name])
        for name in ("expires_at", "revoked_at", "last_used_at")
    }
    return Token(
        token_id=row["token_id"],
        name=row["name"],
        role=Role(row["role"]) if row["role"] in set(Role) else None,
        made_at=parse_utc(row["made_at"]),
        **times,
    )


def _values(token: Token, sha256: str) -> dict[str, str | None]:
    return {
        "token_id": token.token_id,
        "name": token.name,
        "role": str(token.role),
        "hash": sha256,
        "made_at": utc_text(token.made_at),
        "expires_at": None if token.expires_at is None else utc_text(token.expires_at),
    }
