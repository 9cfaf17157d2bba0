# SPDX-License-Identifier: AGPL-3.0-or-later
"""Runs the application on a thread of its own, with an event loop of its own; installs no signal handlers."""

import errno
import socket
import threading
from typing import Final, cast

import structlog
import uvicorn
from fastapi import FastAPI

from api.access import Access
from api.feed import JournalFeed
from api.guard import address_to_bind, is_local
from api.tls import Tls
from gridwatch.core.errors import InputError

log = structlog.get_logger("api")

_START_S: Final = 20.0
_STOP_S: Final = 8.0
_GRACE_S: Final = 2
_BACKLOG: Final = 256


class ApiServer:
    """One listening socket and the thread that serves it.

    Args:
        host: a loopback address; any other is refused while there is no token, and 127.0.0.1 while none is valid.
        port: 0 takes a free one; `port` says which.
        tls: what to serve HTTPS with; None serves HTTP.
    """

    def __init__(self, app: FastAPI, host: str, port: int, tls: Tls | None = None) -> None:
        self._app, self._host, self._asked_port, self._tls = app, host, port, tls
        self._bound = host
        self._server: uvicorn.Server | None = None
        self._socket: socket.socket | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is listened on; 0 before `start` where a free one was asked for."""
        return self._asked_port if self._socket is None else int(self._socket.getsockname()[1])

    @property
    def url(self) -> str:
        """Where a browser finds the console."""
        host = f"[{self._bound}]" if ":" in self._bound else self._bound
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}"

    def start(self) -> None:
        """Bind, serve, and return once requests are answered.

        Raises:
            InputError: the address may not be bound, the port is taken, or the certificate cannot be used.
            StoreError: whether there is a token cannot be read.
        """
        self._bound = self._allowed()
        if self._tls is not None:
            self._tls.check()
        self._socket = _listen(self._bound, self._asked_port)
        config = uvicorn.Config(
            self._app,
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            proxy_headers=False,  # who calls is who is connected: attempts are counted by it
            timeout_graceful_shutdown=_GRACE_S,
            ssl_certfile=None if self._tls is None else self._tls.certificate,
            ssl_keyfile=None if self._tls is None else self._tls.key,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="api-server", daemon=True)
        self._thread.start()
        self._await_start()

    def stop(self) -> None:
        """Let listeners go, finish what is being answered, and end the thread. Stopping twice is no error."""
        if self._server is None or self._thread is None:
            return
        cast(JournalFeed, self._app.state.feed).close()
        self._server.should_exit = True
        self._thread.join(timeout=_STOP_S)
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(timeout=_STOP_S)
        self._close()

    def _allowed(self) -> str:
        """Return where to listen."""
        if is_local(self._host):
            return self._host
        access = cast(Access, self._app.state.access)
        host = address_to_bind(self._host, access.all_tokens(), access.now())
        if host != self._host:
            log.error(
                "door_closed_to_others",
                asked=self._host,
                listens_on=host,
                means="every token has expired or was revoked: make one (gridwatch tokens add), then restart gridwatch",
            )
        return host

    def _run(self) -> None:
        assert self._server is not None
        assert self._socket is not None
        self._server.run(sockets=[self._socket])

    def _await_start(self) -> None:
        assert self._server is not None
        assert self._thread is not None
        waited = threading.Event()
        for _ in range(int(_START_S / 0.02)):
            if self._server.started:
                return
            if not self._thread.is_alive():
                break
            waited.wait(0.02)
        self.stop()
        raise InputError("the API did not start; the log says why")

    def _close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._server = self._thread = self._socket = None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host.strip("[]"), port))
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise InputError(
                f"port {port} is taken on {host}: stop what listens there or choose another port"
            ) from error
        raise InputError(f"cannot listen on {host}:{port}: {error.strerror}") from error
    return listening
