# SPDX-License-Identifier: AGPL-3.0-or-later
"""Evidence that is made when somebody asks: the still with its boxes, and the clip that may leave."""

import hashlib
from http import HTTPStatus
from typing import Annotated, Final

from fastapi import APIRouter, Depends, Response
from fastapi.responses import FileResponse

from api.leaving import Leaving
from api.routes.alerts import AlertId, IfNoneMatch, Sha256, send_evidence
from api.routes.depends import OperationsDep, ServicesDep
from api.shapes import MaskedClipBody, MaskedClipShape

router = APIRouter(prefix="/api/v1", tags=["evidence"])

_STATUS: Final = {"pending": HTTPStatus.ACCEPTED, "busy": HTTPStatus.SERVICE_UNAVAILABLE}
_RETRY_AFTER_S: Final = 5


def _leaving(operations: OperationsDep, services: ServicesDep) -> Leaving:
    return Leaving(operations, services)


LeavingDep = Annotated[Leaving, Depends(_leaving)]


@router.get(
    "/alerts/{alert_id}/still/boxes", summary="An alert's picture with its boxes", response_class=Response
)
def get_still_with_boxes(alert_id: AlertId, leaving: LeavingDep, held: IfNoneMatch = None) -> Response:
    """Return the clean picture as image/jpeg with the boxes of the claim drawn. It stays inside: nobody is blurred."""
    content = leaving.still_with_boxes(alert_id)
    headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Cache-Control": "private, no-cache"}
    if held is not None and headers["ETag"].strip('"') in held:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(content, media_type="image/jpeg", headers=headers)


@router.post("/alerts/{alert_id}/masked-clip", summary="Have the clip made that may leave")
def ask_masked_clip(
    alert_id: AlertId, _: MaskedClipBody, leaving: LeavingDep, response: Response
) -> MaskedClipShape:
    """Have it made: at most 5 pictures a second, persons blurred. 202 while it is in work, 200 when it is there.

    503 while too many wait. `none` where the alert has no clip. Asking again does no harm; the answer is where it stands.
    """
    shape = MaskedClipShape.of(leaving.ask(alert_id))
    response.status_code = _STATUS.get(shape.state, HTTPStatus.OK)
    if shape.state in _STATUS:
        response.headers["Retry-After"] = str(_RETRY_AFTER_S)
    return shape


@router.get("/alerts/{alert_id}/masked-clip", summary="Where the clip that may leave stands")
def get_masked_clip(alert_id: AlertId, leaving: LeavingDep) -> MaskedClipShape:
    """Return whether it is ready (then `url` leads to it), pending, failed (and why), or none."""
    return MaskedClipShape.of(leaving.state(alert_id))


@router.get("/evidence/{sha256}.mp4", summary="A masked clip by its hash", response_class=FileResponse)
def get_evidence_clip(sha256: Sha256, leaving: LeavingDep, held: IfNoneMatch = None) -> Response:
    """Return the clip whose persons are blurred, as video/mp4 (ranges are served)."""
    return send_evidence(leaving.clip(sha256), sha256, "video/mp4", held)
