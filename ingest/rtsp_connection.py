# SPDX-License-Identifier: AGPL-3.0-or-later
"""One TCP connection to a camera, and what has come over it. It waits in the kernel, a moment at a time."""

import socket
import struct
from contextlib import suppress

from ingest.errors import SourceError, StreamEndedError, TimedOutError, UnreachableError

ROOM = 192 * 1024  # bytes: the longest interleaved packet, and what comes behind it
# What comes is taken together: a wake-up costs as much as several packets. Nothing waits longer than so.
_TOGETHER_BYTES, _TOGETHER_S = 128 * 1024, 0.3
_SEND_WITHIN_S = 2.0
_TIMEVAL = struct.Struct("@ll")


class Connection:
    """For one thread. What has come and was not used yet is `buffer[start:end]`; whoever uses it moves `start`.

    Args:
        within_s: how long to wait for the connection.
        wait_s: how long `fill` waits.

    Raises:
        SourceError: there is no connection.
    """

    def __init__(self, host: str, port: int, *, within_s: float, wait_s: float) -> None:
        self.buffer = bytearray(ROOM)
        self.view = memoryview(self.buffer)
        self.start = self.end = 0
        self._socket = _connected(host, port, within_s)
        # Blocking, with the kernel's own time-outs: with Python's each call would be two.
        self._socket.setblocking(True)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(wait_s))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(_SEND_WITHIN_S))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fill(self) -> bool:
        """Take what has come, waiting a moment for it; return whether the connection still stands."""
        if self.start:
            rest = self.end - self.start
            self.buffer[:rest] = self.buffer[self.start : self.end]
            self.start, self.end = 0, rest
        try:
            came = self._socket.recv_into(self.view[self.end :])
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self.end += came
        return came > 0

    def gather(self) -> None:
        """From now on take what comes several packets at a time; pictures come three tenths of a second later at most."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _timeval(_TOGETHER_S))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, _TOGETHER_BYTES)

    def send(self, data: bytes) -> None:
        """Send a request.

        Raises:
            StreamEndedError: the connection does not take it.
        """
        try:
            self._socket.sendall(data)
        except OSError:
            pass
        else:
            return
        raise StreamEndedError("the camera closed the connection")

    def close(self, farewell: bytes = b"") -> None:
        """Hang up; `farewell` is sent if that takes no time."""
        with suppress(OSError):
            if farewell:
                self._socket.send(farewell, socket.MSG_DONTWAIT)
            self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()


def _connected(host: str, port: int, within_s: float) -> socket.socket:
    failure: SourceError
    try:
        return socket.create_connection((host, port), timeout=within_s)
    except TimeoutError:
        failure = TimedOutError("it did not answer in time")
    except (OSError, UnicodeError) as error:
        said = error.strerror if isinstance(error, OSError) else None
        failure = UnreachableError(f"no connection ({said or 'the name of the host is none'})")
    raise failure


def _timeval(seconds: float) -> bytes:
    whole = int(seconds)
    return _TIMEVAL.pack(whole, int((seconds - whole) * 1e6) or (0 if whole else 1000))
