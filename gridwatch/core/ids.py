# SPDX-License-Identifier: AGPL-3.0-or-later
"""Time-ordered identifiers (UUIDv7, RFC 9562 section 5.7)."""

import secrets
import uuid
from datetime import datetime


def uuid7(at: datetime) -> str:
    """Return a UUIDv7 for the wall time `at` (aware): 48 bits of milliseconds, then random bits."""
    milliseconds = int(at.timestamp() * 1000) & 0xFFFF_FFFF_FFFF
    value = milliseconds << 80 | 0x7 << 76 | secrets.randbits(12) << 64 | 0b10 << 62 | secrets.randbits(62)
    return str(uuid.UUID(int=value))
