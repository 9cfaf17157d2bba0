# SPDX-License-Identifier: AGPL-3.0-or-later
"""`gridwatch journal export`: the journal's rows as JSON lines, without what they say."""

import json
import sys
from pathlib import Path
from typing import TextIO

from events.errors import StoreError
from events.reading import AlertReader
from gridwatch.app.settings import load_settings
from gridwatch.app.storage import open_store
from gridwatch.core.errors import InputError
from gridwatch.core.redact import redact

PAGE = 5_000


def export_command(config: Path, after: int = 0, out: TextIO | None = None) -> None:
    """Print every row after `after`, one JSON object a line: seq, incident_id, revision, message_id (null: no message).

    It ends with the row that was the newest when it began. `out` is standard output otherwise.

    Raises:
        InputError: the configuration is wrong, or the store is not there or does not answer.
    """
    target = out or sys.stdout
    settings, _ = load_settings(config)
    with open_store(settings) as store:
        reader = AlertReader(store)
        try:
            last = reader.last_seq()
            while after < last and (rows := reader.outline_after(after, PAGE)):
                for row in rows:
                    if row.seq <= last:
                        target.write(json.dumps(row._asdict()) + "\n")
                after = rows[-1].seq
        except StoreError as error:
            raise InputError(redact(str(error))) from error
