# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this room raises.

GridwatchError
└── ModelsError
    ├── WeightsError        (also an InputError) the catalogue or a weights file is wrong; the command line exits 2
    ├── BackendError        (also an InputError) what was asked for cannot compute here; the command line exits 2
    ├── TrainingError       a training run ended without a result
    ├── InferenceError      the engine gave no answer for a picture; that look is unknown, the next may succeed
    └── PictureError        what should be looked at is no picture; the engine was not asked
"""

from gridwatch.core.errors import GridwatchError, InputError


class ModelsError(GridwatchError):
    """Anything raised here on purpose."""


class WeightsError(ModelsError, InputError):
    """The catalogue or a weights file is missing, unreadable or not what the catalogue says it is."""


class BackendError(ModelsError, InputError):
    """A back end, a precision or a device that was asked for is not to be had on this machine."""


class InferenceError(ModelsError):
    """The engine gave no answer.

    Args:
        reason: a short phrase without pictures or paths in it.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"no answer from the network: {reason}")


class TrainingError(ModelsError):
    """A training run ended without a result."""


class PictureError(ModelsError):
    """What should be looked at is no picture: not uint8, without pixels, or neither grey nor colour."""
