# SPDX-License-Identifier: AGPL-3.0-or-later
"""Makes the FastAPI application. Holds no state of its own: everything comes in with the services."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.access import Access
from api.console.mounting import mount_console
from api.feed import JournalFeed
from api.guard import AccessPolicy, Guard
from api.metrics import ApiMetrics, Measured
from api.operations import Operations
from api.problems import MEDIA_TYPE, install_problems
from api.routes import alerts, cameras, door, evidence, login, stream, technical
from api.routes import operations as operations_routes
from api.routes.depends import TOKEN
from api.services import Services
from api.waiting import WaitingRoom

_DESCRIPTION = (
    "Alerts of suspected fire, smoke, crowds and traffic incidents, with the proof of sight beside every list. "
    "Not a certified fire alarm. Errors are RFC 9457 problems; times are RFC 3339 in UTC. "
    "Once a token was made every call but /healthz and /readyz brings one: Authorization: Bearer <token>."
)


def create_app(services: Services, *, policy: AccessPolicy | None = None, console: bool = True) -> FastAPI:
    """Return the application: API, technical paths and, unless told otherwise, the console.

    The console may be mounted on one running application per process (NiceGUI keeps process-wide state).
    """
    metrics = ApiMetrics(services.registry)
    feed = JournalFeed(services.alerts, metrics)
    access = Access(services.tokens, services.signer, services.clock)
    metrics.first_end_s.set_function(access.first_end_s)
    operations = Operations(services, metrics, access)
    app = FastAPI(
        title="gridwatch",
        version=version("gridwatch"),
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=_operation_id,
        lifespan=_lifespan(feed),
        responses={"default": {"description": "An RFC 9457 problem", "content": {MEDIA_TYPE: {}}}},
    )
    app.state.services, app.state.operations, app.state.feed = services, operations, feed
    app.state.access, app.state.seats = access, WaitingRoom()
    routers = (
        stream.router,
        alerts.router,
        evidence.router,
        cameras.router,
        operations_routes.router,
        door.router,
        technical.router,
    )
    for router in routers:
        app.include_router(router, dependencies=[] if router is technical.router else [TOKEN])
    install_problems(app)
    names = frozenset(
        route.name
        for router in routers
        for route in router.routes
        if isinstance(route, APIRoute) and route.include_in_schema
    )
    metrics.expect(names)
    if console:
        app.include_router(login.router)
        mount_console(app, operations, feed, services)
    app.add_middleware(Guard, policy=policy or AccessPolicy(), access=access)
    app.add_middleware(Measured, metrics=metrics, operations=names)
    return app


def _operation_id(route: APIRoute) -> str:
    return route.name


def _lifespan(feed: JournalFeed) -> Any:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await asyncio.to_thread(feed.start)
        yield
        await asyncio.to_thread(feed.close)

    return lifespan
