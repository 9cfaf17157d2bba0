# SPDX-License-Identifier: AGPL-3.0-or-later
"""What can go wrong between a camera and a decoded picture.

GridwatchError
└── IngestError                `reason`: one short phrase without credentials, fit for a camera's state; most have a
    │                          `fault` too, which names it
    ├── SourceError            the stream cannot be had; the feed tries again after its back-off
    │   ├── UnreachableError   nothing answers at that address, or what answers refuses to serve
    │   ├── UnauthorizedError  user or password are refused: retried slowly, because cameras lock accounts
    │   ├── NotFoundError      the camera answers, the path does not exist
    │   ├── TimedOutError      it answered and then sent nothing for too long
    │   ├── StreamEndedError   it closed the stream
    │   └── UnsupportedCodecError  there is no video in it that can be decoded here
    └── DamagedError           one packet, or a set of packets, that cannot be used; the stream goes on

FFmpeg's own exceptions carry the whole URL, password included. They end at the door: none of these has one as
its cause or context.
"""

from gridwatch.core.camera import Fault
from gridwatch.core.errors import GridwatchError
from gridwatch.core.redact import redact


class IngestError(GridwatchError):
    """Anything between a camera and a picture. `reason` is one short phrase without credentials."""

    def __init__(self, reason: str) -> None:
        self.reason = redact(reason)
        super().__init__(self.reason)


class SourceError(IngestError):
    """The stream cannot be had, now."""

    fault: Fault = Fault.UNREACHABLE


class UnreachableError(SourceError):
    """Nothing answers at that address, or what answers refuses to serve."""


class UnauthorizedError(SourceError):
    """User or password are refused."""

    fault: Fault = Fault.UNAUTHORIZED


class NotFoundError(SourceError):
    """The camera answers; the path does not exist."""

    fault: Fault = Fault.NOT_FOUND


class TimedOutError(SourceError):
    """It answered and then sent nothing for too long."""

    fault: Fault = Fault.SILENT


class StreamEndedError(SourceError):
    """The other side closed the stream."""

    fault: Fault = Fault.BROKEN_OFF


class UnsupportedCodecError(SourceError):
    """There is no video in the stream that can be decoded here."""

    fault: Fault = Fault.UNSUPPORTED


class DamagedError(IngestError):
    """A packet, or a set of packets, that cannot be used."""

    fault: Fault = Fault.DAMAGED
