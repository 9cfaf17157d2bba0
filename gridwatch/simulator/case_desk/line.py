# SPDX-License-Identifier: AGPL-3.0-or-later
"""The line between the case desk and gridwatch, as the desk sees it: entries come, replies go. Redis or HTTP."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the queue; `fields` is None where it is gone already, `place` names it when it is done with."""

    place: str
    fields: Mapping[bytes, bytes] | None


class Line(Protocol):
    """One line. Every method raises `LineError` when the other side does not answer or refuses."""

    name: str

    def open(self) -> Sequence[Entry]:
        """Get in touch; return entries that were read before and not done with. Call again until none come."""
        ...

    def read(self, wait_s: float) -> Sequence[Entry]:
        """Return the next entries, waiting up to `wait_s` for the first."""
        ...

    def left_by_others(self) -> Sequence[Entry]:
        """Return entries that another desk read and did not finish in time, where the line knows of such."""
        ...

    def done(self, entries: Sequence[Entry]) -> None:
        """Note that these entries have taken effect and need not come again."""
        ...

    def send(self, replies: Sequence[Mapping[str, str]]) -> None:
        """Send replies in order; it returns when all were taken."""
        ...

    def leave(self) -> None:
        """Say goodbye, where the other side keeps a list of desks."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...
