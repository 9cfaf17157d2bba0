# SPDX-License-Identifier: AGPL-3.0-or-later
"""Alerts: list, detail, decisions, timeline and evidence."""

from pathlib import Path as FilePath
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import FileResponse

from api.operations import RUN_MODES, Operations
from api.routes.depends import Cursor, Limit, OperationsDep, SeenRevision
from api.shapes import AlertShape, AlertsShape, ConfirmBody, CoverageShape, DismissBody, RowShape, RowsShape
from events.alerts import Activity, Alert, AlertFilter, Decision
from gridwatch.core.zone import Kind

router = APIRouter(prefix="/api/v1", tags=["alerts"])

RunMode = Literal["actual", "exercise", "test", "any"]
AlertId = Annotated[str, Path(max_length=64)]
IfNoneMatch = Annotated[str | None, Header(alias="If-None-Match", max_length=1_000)]
OfMain = Annotated[
    bool, Query(description="the one from the camera's main stream, where a smaller one is looked at")
]
Sha256 = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]


@router.get("/alerts", summary="List alerts, newest first")
def list_alerts(  # noqa: PLR0913, PLR0917  one parameter per filter
    operations: OperationsDep,
    kind: Kind | None = None,
    decision: Decision | None = None,
    activity: Activity | None = None,
    camera_id: Annotated[str | None, Query(max_length=64)] = None,
    run_mode: Annotated[
        RunMode | None,
        Query(description="actual ones and those of this machine's own mode where nothing is said"),
    ] = None,
    open: Annotated[bool, Query(description="only those that have not ended")] = False,  # noqa: A002  the filter's name
    cursor: Cursor = None,
    limit: Limit = 50,
) -> AlertsShape:
    """Return a page of alerts with the proof of sight beside it."""
    modes = RUN_MODES if run_mode == "any" else () if run_mode is None else (run_mode,)
    wanted = AlertFilter(kind, decision, activity, camera_id, open, modes)
    page = operations.alerts(wanted, cursor, limit)
    items = [AlertShape.of(alert) for alert in page.items]
    return AlertsShape(items=items, next=page.next, coverage=_coverage(operations))


@router.get("/alerts/{alert_id}", summary="One alert")
def get_alert(alert_id: AlertId, operations: OperationsDep, response: Response) -> AlertShape:
    """Return one alert; its ETag is the revision."""
    return _tagged(operations.alert(alert_id), response)


@router.post("/alerts/{alert_id}/confirm", summary="Confirm an alert")
def confirm_alert(
    alert_id: AlertId, body: ConfirmBody, seen: SeenRevision, operations: OperationsDep, response: Response
) -> AlertShape:
    """Confirm; 409 only if somebody decided since the revision in If-Match, 412 if there is no such revision."""
    return _tagged(operations.confirm(alert_id, seen_revision=seen, note=body.note), response)


@router.post("/alerts/{alert_id}/dismiss", summary="Dismiss an alert")
def dismiss_alert(
    alert_id: AlertId, body: DismissBody, seen: SeenRevision, operations: OperationsDep, response: Response
) -> AlertShape:
    """Dismiss with a reason; 409 only if somebody decided since the revision in If-Match, 412 if there is no such revision."""
    alert = operations.dismiss(alert_id, seen_revision=seen, reason=body.reason, note=body.note)
    return _tagged(alert, response)


@router.get("/alerts/{alert_id}/timeline", summary="Every change of an alert")
def get_timeline(
    alert_id: AlertId,
    operations: OperationsDep,
    cursor: Cursor = None,
    limit: Limit = 200,
    newest: Annotated[bool, Query(description="the last `limit` rows, instead of a page")] = False,
) -> RowsShape:
    """Return a page of the alert's rows of the journal, oldest first."""
    if newest:
        rows, following = operations.newest_rows(alert_id, limit), None
    else:
        rows, following = operations.timeline_page(alert_id, cursor, limit)
    items = [RowShape.of(row) for row in rows]
    return RowsShape(items=items, next=following, coverage=_coverage(operations))


@router.get("/alerts/{alert_id}/still", summary="An alert's picture", response_class=FileResponse)
def get_still(
    alert_id: AlertId,
    operations: OperationsDep,
    held: IfNoneMatch = None,
    masked: Annotated[bool, Query(description="the one whose persons are blurred")] = False,
    detail: OfMain = False,
) -> Response:
    """Return the picture as image/jpeg."""
    return send_evidence(*operations.still(alert_id, masked=masked, detail=detail), "image/jpeg", held)


@router.get("/alerts/{alert_id}/clip", summary="An alert's clip", response_class=FileResponse)
def get_clip(
    alert_id: AlertId, operations: OperationsDep, held: IfNoneMatch = None, detail: OfMain = False
) -> Response:
    """Return the clip as video/mp4 (ranges are served); 404 with its state while there is none."""
    return send_evidence(*operations.clip(alert_id, detail=detail), "video/mp4", held)


@router.get("/evidence/{sha256}.jpg", summary="A masked still by its hash", response_class=FileResponse)
def get_evidence(sha256: Sha256, operations: OperationsDep, held: IfNoneMatch = None) -> Response:
    """Return the masked still that a case message refers to."""
    return send_evidence(operations.masked_still(sha256), sha256, "image/jpeg", held)


def send_evidence(path: FilePath, sha256: str, media_type: str, held: str | None) -> Response:
    """Send a file that its hash names; an alert's picture may become another one, so a cache asks every time."""
    headers = {"ETag": f'"{sha256}"', "Cache-Control": "private, no-cache"}
    if held is not None and sha256 in held:
        return Response(status_code=304, headers=headers)
    return FileResponse(path, media_type=media_type, headers=headers)


def _tagged(alert: Alert, response: Response) -> AlertShape:
    response.headers["ETag"] = f'"{alert.revision}"'
    return AlertShape.of(alert)


def _coverage(operations: Operations) -> CoverageShape:
    return CoverageShape.of(operations.coverage())
