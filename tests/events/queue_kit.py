# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the tests of the queue share: a small message of any row."""

from events.messages import CaseMessage

SOURCE = "urn:gridwatch:51011700005020000001"


def message(seq, *, source=SOURCE, epoch="e1"):
    """Return the message of row `seq`, of an incident whose message before it was row `seq - 1`."""
    return CaseMessage(
        id=f"inc:{seq}",
        source=source,
        type="cn.gridwatch.incident.updated.v1",
        subject="inc",
        time="2026-11-26T09:00:00.000+08:00",
        previous=seq - 1,
        journalepoch=epoch,
        journalseq=seq,
        journalhash="0" * 64,
        data='{"text":"疑似烟雾"}'.encode(),
    )
