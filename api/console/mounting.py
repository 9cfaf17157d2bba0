# SPDX-License-Identifier: AGPL-3.0-or-later
"""Mounts NiceGUI on the API's application, so that it owns the console's paths and nothing else."""

from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from nicegui import core, ui
from starlette.routing import BaseRoute, Match, Mount
from starlette.types import Scope

from api.access import Right
from api.console.cameras_page import CamerasPage
from api.console.login import language_of
from api.console.page import ASSETS, ConsolePage
from api.console.parts import ALERTS_PAGE, CAMERAS_PAGE
from api.console.texts import Words
from api.feed import JournalFeed
from api.guard import is_console
from api.operations import Operations
from api.problems import ProblemResponse
from api.services import Services

_RECONNECT_S = 15.0
_BUILD_S = 15.0


class ConsoleMount(Mount):
    """NiceGUI answers for every path below it, with its own pages; here it gets the console's paths only."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match the console's own paths."""
        if scope["type"] in {"http", "websocket"}:
            path = scope["path"]
            if not is_console(path) or path.startswith("/console/"):  # the assets have a mount of their own
                return Match.NONE, {}
        return super().matches(scope)


def mount_console(app: FastAPI, operations: Operations, feed: JournalFeed, services: Services) -> None:
    """Serve the console at / of `app`. NiceGUI's state is the process's: one running console per process."""
    app.mount("/console/assets", StaticFiles(directory=ASSETS), name="console-assets")

    async def show(request: Request) -> Response | None:
        mine, words = operations.of(request.state.caller), Words(language_of(request))
        if not mine.caller.may(Right.SEE):
            return ProblemResponse(403, "forbidden", "this token does not open the console")
        cameras = request.url.path == CAMERAS_PAGE
        page = CamerasPage(mine, services, words) if cameras else ConsolePage(mine, feed, services, words)
        await page.build()
        return None

    _forget_former_mount()
    for path in (ALERTS_PAGE, CAMERAS_PAGE):
        ui.page(path, title="gridwatch", favicon=ASSETS / "icon.svg", response_timeout=_BUILD_S)(show)
    known: list[BaseRoute] = list(app.router.routes)
    ui.run_with(
        app,
        dark=True,
        title="gridwatch",
        tailwind=False,
        reconnect_timeout=_RECONNECT_S,
        show_welcome_message=False,
        gzip_middleware_factory=None,
    )
    _narrow(app, known)


def _forget_former_mount() -> None:
    """Let NiceGUI be mounted again after a former application in this process has stopped."""
    core.app.user_middleware.clear()
    core.app.middleware_stack = None


def _narrow(app: FastAPI, known: list[BaseRoute]) -> None:
    added: list[Any] = [route for route in app.router.routes if route not in known]
    for route in added:
        app.router.routes.remove(route)
    app.router.routes.append(ConsoleMount("", app=core.app, name="console"))
