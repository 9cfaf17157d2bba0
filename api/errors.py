# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this room raises.

GridwatchError
├── InputError              (core) an address that may not be bound, a port that is taken
└── ApiError
    ├── UnknownCamera       no camera has this id
    ├── NoOtherView         a camera that is neither moved nor elsewhere shows no other view to accept
    ├── NothingStored       a still, clip or picture that does not exist, or not yet
    ├── NotAdmitted         who calls brings no token that admits anybody (any more)
    ├── Forbidden           the caller's role may not do this
    ├── ListenerOverflow    a listener fell too far behind the journal and was dropped
    └── TooManyListeners    no more listeners are taken; retry later
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from gridwatch.core.errors import GridwatchError

_ADVICE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "without a fault": "nothing has to be done",
        "covered": "clear the lens first",
        "blurred": "clean or focus the lens; where it is to stay like that, draw its zones anew",
    }
)


class ApiError(GridwatchError):
    """Anything raised here on purpose."""


class UnknownCamera(ApiError):  # noqa: N818  reads better where it is raised
    """No configured camera has this id."""

    def __init__(self, camera_id: str) -> None:
        self.camera_id = camera_id
        super().__init__(f"no camera {camera_id!r}")


class NoOtherView(ApiError):  # noqa: N818  reads better where it is raised
    """A camera is neither moved nor elsewhere: what it shows cannot be taken for what its zones are drawn on.

    Args:
        fault: what is wrong with it instead; None if nothing is.
    """

    def __init__(self, camera_id: str, fault: str | None) -> None:
        self.fault = fault
        said = fault or "without a fault"
        advice = _ADVICE.get(said, "mend that first; where its view is another then, accept it")
        super().__init__(f"camera {camera_id!r} is not moved or elsewhere but {said}: {advice}")


class NothingStored(ApiError):  # noqa: N818  reads better where it is raised
    """What was asked for does not exist, or not yet.

    Args:
        what: still, clip or picture.
        state: pending where it is being made, none where there is none, gone where it was deleted.
    """

    def __init__(self, what: str, state: str) -> None:
        self.what, self.state = what, state
        super().__init__(f"no {what}: {state}")


class ListenerOverflow(ApiError):  # noqa: N818  reads better where it is raised
    """A listener fell too far behind; it has to load the lists again."""


class TooManyListeners(ApiError):  # noqa: N818  reads better where it is raised
    """No more listeners are taken until one leaves."""


class NotAdmitted(ApiError):  # noqa: N818  reads better where it is raised
    """Who calls brings no token, or one that has ended."""

    def __init__(self) -> None:
        super().__init__("a valid token is needed; `gridwatch tokens add` makes one")


class Forbidden(ApiError):  # noqa: N818  reads better where it is raised
    """The caller's role may not do this.

    Args:
        name: the caller.
        right: what would be needed.
    """

    def __init__(self, name: str, right: str) -> None:
        self.name, self.right = name, right
        super().__init__(f"{name} may not do this: its role lacks {right!r}")
