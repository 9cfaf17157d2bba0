# SPDX-License-Identifier: AGPL-3.0-or-later
"""What the case desk raises.

GridwatchError
└── CaseDeskError
    ├── UnreadableMessage       an entry claims to be ours to read and is not well formed
    ├── LineError               the queue or the door does not answer, or refuses
    └── CaseBookError           the state file does not answer
"""

from gridwatch.core.errors import GridwatchError


class CaseDeskError(GridwatchError):
    """Anything raised here on purpose."""


class UnreadableMessage(CaseDeskError):  # noqa: N818  reads better where it is raised
    """An entry of the queue is not a well-formed incident message; the message says why."""


class LineError(CaseDeskError):
    """The queue or the door does not answer, or refuses; the message says why and holds no secret."""


class CaseBookError(CaseDeskError):
    """The state file does not answer."""
