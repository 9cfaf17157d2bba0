# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this room raises.

GridwatchError
└── ModelsError
    ├── WeightsError        (also an InputError) the catalogue or a weights file is wrong; the command line exits 2
    └── InferenceError      the engine gave no answer for a picture; that look is unknown, the next may succeed
"""

from gridwatch.core.errors import GridwatchError, InputError


class ModelsError(GridwatchError):
    """Anything raised here on purpose."""


class WeightsError(ModelsError, InputError):
    """The catalogue or a weights file is missing, unreadable or not what the catalogue says it is."""


class InferenceError(ModelsError):
    """The engine gave no answer.

    Args:
        reason: a short phrase without pictures or paths in it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"no answer from the network: {reason}")
