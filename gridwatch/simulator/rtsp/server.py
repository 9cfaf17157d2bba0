# SPDX-License-Identifier: AGPL-3.0-or-later
"""The RTSP server: the addresses it listens on and who is connected. A connection by itself is connection.py's."""

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

from gridwatch.simulator.rtsp.auth import Scheme, gate_of
from gridwatch.simulator.rtsp.broadcast import Broadcast
from gridwatch.simulator.rtsp.connection import RtspConnection, ServerLimits
from gridwatch.simulator.rtsp.digest import Credentials, DigestGate
from gridwatch.simulator.rtsp.media import VideoMedia
from gridwatch.simulator.rtsp.sdp import TRACK
from gridwatch.simulator.rtsp.session import Conversation
from gridwatch.simulator.rtsp.tamper import Door
from gridwatch.simulator.rtsp.udp import UdpPorts

_BACKLOG = 512
_AGAIN_S = 0.1


class RtspServer:
    """Serves broadcasts. `paths` maps a URL path to its camera; it may be filled after construction.

    Attributes:
        door: how clients are received before they have said which camera they want.
        qop: offer Digest with qop=auth in place of the older form.
        scheme: which authentication is asked for where there are credentials.
    """

    def __init__(
        self,
        paths: Mapping[str, Broadcast],
        credentials: Credentials | None = None,
        *,
        qop: bool = False,
        scheme: Scheme = "digest",
        limits: ServerLimits | None = None,
    ) -> None:
        self.paths, self._credentials, self._qop, self._scheme = paths, credentials, qop, scheme
        self.limits = limits or ServerLimits()
        self.door = Door()
        self._entrances: dict[str | None, Entrance] = {}
        self._ports: dict[str, UdpPorts] = {}
        self._connections: set[RtspConnection] = set()

    async def open(self, host: str, port: int, path: str | None = None) -> int:
        """Listen, for one camera or for all; return the port (0 asks for any free one).

        Raises OSError where it is taken.
        """
        entrance = Entrance(self, host, port, path)
        await entrance.open()
        self._entrances[path] = entrance
        if host not in self._ports:
            with suppress(OSError):  # then this address serves no datagrams
                self._ports[host] = UdpPorts.open(host)
        return entrance.port

    async def close(self) -> None:
        """Stop listening and cut every connection."""
        for entrance in self._entrances.values():
            entrance.close()
        self.cut(None)
        for entrance in self._entrances.values():
            await entrance.wait_closed()
        for ports in self._ports.values():
            ports.close()
        self._ports.clear()

    async def listen(self, path: str, *, listening: bool) -> None:
        """Close the port of a camera that has one of its own, or open it again."""
        entrance = self._entrances.get(path)
        if entrance is not None:
            await entrance.listen(listening=listening)

    def cut(self, camera: Broadcast | None) -> None:
        """Cut every connection; with a camera, those that asked for it."""
        for connection in tuple(self._connections):
            if camera is None or connection.camera is camera:
                connection.abort()

    def ports_at(self, host: str) -> UdpPorts | None:
        """Return the ports for datagrams at `host`."""
        return self._ports.get(host)

    def admit(self, connection: RtspConnection) -> bool:
        """Count a new connection in, if there is room."""
        if len(self._connections) >= self.limits.connections:
            return False
        self._connections.add(connection)
        return True

    def forget(self, connection: RtspConnection) -> None:
        """Count a closed connection out."""
        self._connections.discard(connection)

    def conversation(self, entrance: "Entrance") -> Conversation:
        """Return the conversation of a new connection, with a nonce and a session id of its own."""
        gate = None
        if self._credentials is not None:
            digest = DigestGate(self._credentials, secrets.token_hex(16), qop=self._qop)
            gate = gate_of(self._scheme, digest)
        pair = entrance.udp.pair if entrance.udp is not None else None
        return Conversation(entrance, gate, secrets.token_hex(8), self.limits.session_timeout_s, pair)


class Entrance:
    """One address that the server listens on. With a path it leads to that camera only."""

    def __init__(self, server: RtspServer, host: str, port: int, path: str | None) -> None:
        self._house, self._host, self.port, self._path = server, host, port, path
        self._server: asyncio.Server | None = None
        self._wanted = True
        self._changing = asyncio.Lock()

    @property
    def limits(self) -> ServerLimits:
        """What a client may cost."""
        return self._house.limits

    @property
    def udp(self) -> UdpPorts | None:
        """The ports for datagrams at this address."""
        return self._house.ports_at(self._host)

    async def open(self) -> None:
        """Listen, on the same port as before where it was open before. Raises OSError where it is taken."""
        if self._server is not None and self._server.is_serving():
            return
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: RtspConnection(self), self._host, self.port, backlog=_BACKLOG
        )
        self.port = cast("int", self._server.sockets[0].getsockname()[1])

    def close(self) -> None:
        """Stop listening; who is connected stays."""
        if self._server is not None:
            self._server.close()

    async def listen(self, *, listening: bool) -> None:
        """Close the port or open it again; another program may have it for a moment, then it is tried again."""
        self._wanted = listening
        async with self._changing:
            if not self._wanted:
                self.close()
            while self._wanted:
                try:
                    await self.open()
                except OSError:
                    await asyncio.sleep(_AGAIN_S)
                else:
                    break

    async def wait_closed(self) -> None:
        """Wait for the end of the connections that came in here."""
        if self._server is not None:
            await self._server.wait_closed()

    def conversation(self) -> Conversation:
        """Return the conversation of a new connection."""
        return self._house.conversation(self)

    @property
    def only(self) -> Broadcast | None:
        """The camera that this port leads to; None: any."""
        return None if self._path is None else self._house.paths.get(self._path)

    def door(self, camera: Broadcast | None) -> Door:
        """Return how a client is received that asks for `camera`."""
        return self._house.door if camera is None else camera.door

    def media(self, path: str) -> VideoMedia | None:
        """Return what the camera at `path` sends; None where there is none."""
        camera = self.camera_at(path)
        return None if camera is None or camera.path != path else camera.media

    def camera_at(self, url_path: str) -> Broadcast | None:
        """Return the camera of a URL's path, with or without its track."""
        path = url_path.removesuffix(f"/{TRACK}")
        return self._house.paths.get(path) if self._path in {None, path} else None

    def admit(self, connection: RtspConnection) -> bool:
        """Count a new connection in, if there is room."""
        return self._house.admit(connection)

    def forget(self, connection: RtspConnection) -> None:
        """Count a closed connection out."""
        self._house.forget(connection)
