# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one ordered record of every change: rows, canonical bytes and the chain of hashes.

Hashes are SHA-256 over canonical JSON (RFC 8785), so that a row's hash is the same on every machine.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

import rfc8785

from events.times import utc_text

GENESIS = "0" * 64
CHAINED = (
    "seq",
    "incident_id",
    "revision",
    "kind",
    "actor",
    "at",
    "payload_hash",
    "prev_hash",
    "message_id",
)
_EXACT_INTEGER = 2**53 - 1


@dataclass(frozen=True, slots=True)
class Row:
    """One change. `seq` is commit order.

    Attributes:
        revision: the incident's revision after the change (unchanged by rows that are no revision).
        kind: what happened: opened, updated, unseen, seen, ended, reopened, confirmed, dismissed, case, evidence, orphan,
            restored, adopted.
        actor: machine, operator:<name> or case:<source>.
        payload: the change, and for a message its frozen data; None after retention deleted it.
        message_id: `incident_id:revision` where the row is due as a message, else None.
        row_hash: hash over everything but the payload itself (its hash is in); the next row's prev_hash.
    """

    seq: int
    incident_id: str
    revision: int
    kind: str
    actor: str
    at: datetime
    payload: Mapping[str, Any] | None
    payload_hash: str
    prev_hash: str
    row_hash: str
    message_id: str | None


class Outline(NamedTuple):
    """What a row is, without what it says; `message_id` is None where no message is due."""

    seq: int
    incident_id: str
    revision: int
    message_id: str | None


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of the journal between two restores.

    Attributes:
        epoch: its name, drawn at random.
        first_seq: the first row written in it.
        follows: the epoch that it goes on from; None for the first of a store.
        followed_until: the last row of that one that this journal holds; what came after was lost with it.
    """

    epoch: str
    first_seq: int
    follows: str | None = None
    followed_until: int | None = None


def canonical(value: Any) -> bytes:
    """Return the RFC 8785 bytes of a JSON value.

    Most values are written alike by the interpreter's own encoder, which is many times faster; the others (numbers with an
    exponent, keys that are not ASCII) and what is no JSON go to the library.
    """
    try:
        return _ENCODER.encode(_written_alike(value)).encode()
    except (_Unlike, UnicodeEncodeError):
        return rfc8785.dumps(value)


class _Unlike(Exception):  # noqa: N818  no error: the other way is taken
    """The interpreter's encoder would not write this value as RFC 8785 does."""


_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True, check_circular=False)


def _written_alike(value: Any) -> Any:
    """Return `value` with whole floats as integers; raise where the encoders differ."""
    if value is None or value is True or value is False or isinstance(value, str):
        return value
    if isinstance(value, dict):
        if not all(isinstance(name, str) and name.isascii() for name in value):
            raise _Unlike  # RFC 8785 sorts by UTF-16 units
        return {name: _written_alike(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_written_alike(inner) for inner in value]
    if type(value) is int and abs(value) <= _EXACT_INTEGER:
        return value
    if type(value) is float and abs(value) <= _EXACT_INTEGER:  # false for NaN
        if value.is_integer():
            return int(value)
        if "e" not in repr(value):
            return value
    raise _Unlike


def storable(text: str) -> str:
    """Return `text` as every database and RFC 8785 can carry it: lone surrogates and NUL become visible escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical bytes of a JSON value, hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def chain_hash(row: Row) -> str:
    """Return the hash that `row` must carry: over every field but the payload (its hash stands for it)."""
    return hash_of({name: getattr(row, name) for name in CHAINED} | {"at": utc_text(row.at)})


def hash_of(fields: Mapping[str, Any]) -> str:
    """Return the same of a row's fields as the database holds them, the time as text."""
    return digest({name: fields[name] for name in CHAINED})
