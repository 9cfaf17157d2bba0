# SPDX-License-Identifier: AGPL-3.0-or-later
"""For machines that run this one: alive, ready, metrics; and the API's own description."""

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, FastAPI, Header, Request, Response
from fastapi.responses import HTMLResponse
from prometheus_client.exposition import choose_encoder

from api.access import Right
from api.described import describe
from api.problems import ProblemResponse
from api.routes.depends import TOKEN, OperationsDep, ServicesDep
from api.shapes import HealthShape

router = APIRouter(tags=["technical"])


@router.get("/healthz", summary="Is the process alive")
def get_health() -> HealthShape:
    """Answer, which is all that is asked."""
    return HealthShape(status="ok")


@router.get("/readyz", summary="Is everything ready that alerts need")
def get_ready(operations: OperationsDep) -> Response:
    """Return 200, or 503 with every reason; who brings no token where one is needed is not told the reasons."""
    reasons = operations.not_ready()
    if reasons and not operations.caller.rights:
        return ProblemResponse(503, "not-ready", "not ready; who brings a token is told why")
    if reasons:
        return ProblemResponse(503, "not-ready", "; ".join(reasons), extra={"reasons": reasons})
    return Response('{"status":"ready"}', media_type="application/json")


@router.get("/metrics", summary="Prometheus metrics", dependencies=[TOKEN])
def get_metrics(
    operations: OperationsDep, services: ServicesDep, accept: Annotated[str, Header()] = ""
) -> Response:
    """Return every metric of this process."""
    operations.need(Right.SEE)
    encode: Callable[..., bytes]
    encode, media_type = choose_encoder(accept)
    return Response(encode(services.registry), headers={"Content-Type": media_type})


@router.get("/docs", include_in_schema=False)
def get_docs(request: Request) -> HTMLResponse:
    """Return the API's description as one page that needs nothing from outside."""
    app: FastAPI = request.app
    return HTMLResponse(describe(app.openapi()))
