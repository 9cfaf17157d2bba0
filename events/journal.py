# SPDX-License-Identifier: AGPL-3.0-or-later
"""The one ordered record of every change: rows, canonical bytes and the chain of hashes.

Hashes are SHA-256 over canonical JSON (RFC 8785), so that a row's hash is the same on every machine.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import rfc8785

from events.times import utc_text

GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Row:
    """One change. `seq` is commit order.

    Attributes:
        revision: the incident's revision after the change (unchanged by rows that are no revision).
        kind: what happened: opened, updated, unseen, seen, ended, reopened, confirmed, dismissed, case, evidence, orphan.
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


def canonical(value: Any) -> bytes:
    """Return the RFC 8785 bytes of a JSON value."""
    return rfc8785.dumps(value)


def storable(text: str) -> str:
    """Return `text` as every database and RFC 8785 can carry it: lone surrogates and NUL become visible escapes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def digest(value: Any) -> str:
    """Return the SHA-256 of the canonical bytes of a JSON value, hexadecimal."""
    return hashlib.sha256(canonical(value)).hexdigest()


def chain_hash(row: Row) -> str:
    """Return the hash that `row` must carry: over every field but the payload (its hash stands for it)."""
    return digest(
        {
            "seq": row.seq,
            "incident_id": row.incident_id,
            "revision": row.revision,
            "kind": row.kind,
            "actor": row.actor,
            "at": utc_text(row.at),
            "payload_hash": row.payload_hash,
            "prev_hash": row.prev_hash,
            "message_id": row.message_id,
        }
    )
