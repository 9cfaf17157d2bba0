# SPDX-License-Identifier: AGPL-3.0-or-later
"""What this room raises.

GridwatchError
├── InputError              (core) a clip that cannot be served, a port that is taken
└── SimulatorError
    ├── WireError           bytes that RTSP, RTP, RTCP, SDP or H.264 do not allow (status: RTSP's answer)
    └── FeedError           a camera's pictures stopped coming; the feed is opened again later
"""

from gridwatch.core.errors import GridwatchError


class SimulatorError(GridwatchError):
    """Anything raised here on purpose."""


class WireError(SimulatorError):
    """Bytes from outside that the protocol does not allow.

    Args:
        problem: what is wrong, without the bytes themselves.
        status: the RTSP status code that answers it (RFC 2326 section 7.1.1).
    """

    def __init__(self, problem: str, status: int = 400) -> None:
        self.problem, self.status = problem, status
        super().__init__(problem)


class FeedError(SimulatorError):
    """A camera's pictures stopped coming; the same feed may be opened again."""
