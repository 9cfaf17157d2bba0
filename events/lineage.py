# SPDX-License-Identifier: AGPL-3.0-or-later
"""From which epochs a journal goes on, as far as its own rows say so. Pure.

The table of epochs stands outside the chain of hashes, so it is believed only where the row that a restore left says the
same: whoever rewrites the journal could otherwise explain away the case system's copy as one of an epoch that was lost.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from events.journal import Epoch

RESTORED = "restored"  # kind of the row with which a restore begins its epoch


def says_restored(row: Mapping[str, Any], epoch: Epoch) -> bool:
    """Tell whether a row, as the database holds it, is the one with which a restore began `epoch`."""
    said = _said(row)
    names = ("epoch", "follows", "followed_until")
    return row["seq"] == epoch.first_seq and all(said.get(name) == getattr(epoch, name) for name in names)


def comparable(
    here: str, epochs: Sequence[Epoch], rows: Mapping[int, Mapping[str, Any]]
) -> dict[str, int | None]:
    """Return up to which row copies of each epoch speak of this journal; None: without a bound.

    An epoch of a lost store that a restore was told to follow has no row here. It is believed where it lies between an epoch
    whose row names the backup's and that one, and holds as much.

    Args:
        here: the journal's epoch.
        epochs: of the journal.
        rows: those at the epochs' first numbers, by number, as the database holds them.
    """
    known, found = {one.epoch: one for one in epochs}, dict[str, int | None]()
    epoch: Epoch | None = known.get(here, Epoch(here, 0))
    bound: int | None = None
    until: int | None = None
    backed_up: str | None = None
    while epoch is not None and epoch.epoch not in found:
        found[epoch.epoch] = bound
        if epoch.follows is None:
            break
        row = rows.get(epoch.first_seq, {})
        if row and says_restored(row, epoch):
            backed_up, until = _said(row).get("backed_up_epoch"), epoch.followed_until
        elif backed_up in (None, epoch.epoch) or epoch.followed_until != until:
            break
        if epoch.followed_until is not None:
            bound = epoch.followed_until if bound is None else min(bound, epoch.followed_until)
        epoch = known.get(epoch.follows)
    return found


def _said(row: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        said = json.loads(row["payload"]) if row["kind"] == RESTORED else {}
    except (ValueError, TypeError):  # deleted, or no JSON
        return {}
    return said if isinstance(said, dict) else {}
