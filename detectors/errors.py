# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this room raises.

GridwatchError
└── DetectorsError
    └── ForeignLook    a look of another camera was given to a judge
"""

from gridwatch.core.errors import GridwatchError


class DetectorsError(GridwatchError):
    """Anything raised here on purpose."""


class ForeignLook(DetectorsError):  # noqa: N818  reads better where it is raised
    """A look of another camera was given to a judge: its evidence would be mixed with a stranger's.

    Args:
        expected: the camera that the judge judges.
        got: the camera of the look.
    """

    def __init__(self, expected: str, got: str) -> None:
        self.expected, self.got = expected, got
        super().__init__(f"a look of camera {got!r} was given to the judge of camera {expected!r}")
