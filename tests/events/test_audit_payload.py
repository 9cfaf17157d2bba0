# SPDX-License-Identifier: AGPL-3.0-or-later
"""A row's hash stands over its payload by way of the payload's hash: changing both together does not help."""

import hashlib

import pytest
from sqlalchemy import update

from events.audit import Flaw, verify
from events.stores.schema import JOURNAL

pytestmark = pytest.mark.parametrize("databases", ["sqlite"], indirect=True)


def test_a_payload_changed_together_with_its_hash_is_named(room):
    """The forged payload fits its own hash; it is the row's hash that does not fit any more."""
    room.opened("first")
    room.opened("second", camera="another")
    forged = '{"facts":{}}'
    values = {"payload": forged, "payload_hash": hashlib.sha256(forged.encode()).hexdigest()}
    with room.store.write() as tx:
        tx.connection.execute(update(JOURNAL).where(JOURNAL.c.seq == 1).values(values))
    findings = verify(room.store)
    assert (findings.flaw, findings.seq) == (Flaw.CHANGED, 1)
