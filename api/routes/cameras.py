# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras, grids and counts."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from api.operations import page_of
from api.routes.depends import Cursor, Limit, OperationsDep
from api.shapes import CoverageShape, GridShape, GridsShape, StatsShape
from api.sight_shapes import AcceptViewBody, CameraDetailShape, CameraShape, CamerasShape, DayShape
from api.watching import CamerasWanted
from gridwatch.core.camera import Fault, SightState

CameraId = Annotated[str, Path(max_length=64)]
router = APIRouter(prefix="/api/v1", tags=["sight"])


class JpegResponse(Response):
    """A picture."""

    media_type = "image/jpeg"


@router.get("/cameras", summary="Every camera and whether it sees")
def list_cameras(
    operations: OperationsDep,
    state: SightState | None = None,
    fault: Fault | None = None,
    grid_id: Annotated[str | None, Query(max_length=64)] = None,
    cursor: Cursor = None,
    limit: Limit = 200,
) -> CamerasShape:
    """Return a page of cameras, in configuration order, each with its day so far; a filter that is missing means any."""
    cameras = operations.cameras(CamerasWanted(state, fault, grid_id))
    items, following = page_of(cameras, [camera.camera_id for camera in cameras], cursor, limit)
    return CamerasShape(
        items=[CameraShape.of(camera) for camera in operations.seen(items)],
        next=following,
        coverage=CoverageShape.of(operations.coverage()),
    )


@router.get("/cameras/{camera_id}", summary="One camera and its last days")
def get_camera(camera_id: CameraId, operations: OperationsDep) -> CameraDetailShape:
    """Return what is known of a camera's sight now, and how long it saw on each of its last 31 days."""
    return CameraDetailShape(
        camera=CameraShape.of(operations.camera(camera_id)),
        days=[DayShape.of(day) for day in operations.days_of(camera_id)],
        coverage=CoverageShape.of(operations.coverage()),
    )


@router.get("/cameras/{camera_id}/picture", summary="A camera's last picture", response_class=JpegResponse)
def get_picture(camera_id: CameraId, operations: OperationsDep) -> JpegResponse:
    """Return the last decoded picture as image/jpeg, at most 640 wide."""
    return JpegResponse(operations.picture(camera_id), headers={"Cache-Control": "no-store"})


@router.post(
    "/cameras/{camera_id}/accept-view",
    summary="Take what a camera shows for what its zones are drawn on",
)
def accept_view(camera_id: CameraId, body: AcceptViewBody, operations: OperationsDep) -> CameraShape:
    """Have the view learned anew from the next pictures, and zones watched again; a restart does not undo it.

    Only where the camera is moved or elsewhere (409 otherwise: the detail says what to do). The answer is the camera as it was
    before. Who accepted it stands in the log, with the reason.
    """
    return CameraShape.of(operations.accept_view(camera_id, reason=body.reason))


@router.get("/grids", summary="The grids that incidents are placed in")
def list_grids(operations: OperationsDep, cursor: Cursor = None, limit: Limit = 200) -> GridsShape:
    """Return a page of grids."""
    grids = operations.grids()
    items, following = page_of(grids, [grid.grid_id for grid in grids], cursor, limit)
    return GridsShape(
        items=[GridShape.of(grid) for grid in items],
        next=following,
        coverage=CoverageShape.of(operations.coverage()),
    )


@router.get("/stats", summary="Counts of alerts, and what waits for the case queue")
def get_stats(operations: OperationsDep) -> StatsShape:
    """Return counts of what is recorded, and of what waits."""
    return StatsShape.of(operations.stats(), operations.coverage())
