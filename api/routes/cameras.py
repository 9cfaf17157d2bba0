# SPDX-License-Identifier: AGPL-3.0-or-later
"""Cameras, grids and counts."""

from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Response

from api.operations import page_of
from api.routes.depends import Cursor, Limit, OperationsDep
from api.shapes import CameraShape, CamerasShape, CoverageShape, GridShape, GridsShape, StatsShape
from gridwatch.core.camera import CameraStatus

router = APIRouter(prefix="/api/v1", tags=["sight"])


class JpegResponse(Response):
    """A picture."""

    media_type = "image/jpeg"


@router.get("/cameras", summary="Every camera and whether it sees")
def list_cameras(operations: OperationsDep, cursor: Cursor = None, limit: Limit = 200) -> CamerasShape:
    """Return a page of cameras, in configuration order."""
    cameras = operations.cameras()
    items, following = page_of(cameras, [camera.camera_id for camera in cameras], cursor, limit)
    return CamerasShape(
        items=[_shape(camera) for camera in items],
        next=following,
        coverage=CoverageShape.of(operations.coverage()),
    )


@router.get("/cameras/{camera_id}/picture", summary="A camera's last picture", response_class=JpegResponse)
def get_picture(camera_id: Annotated[str, Path(max_length=64)], operations: OperationsDep) -> JpegResponse:
    """Return the last decoded picture as image/jpeg, at most 640 wide."""
    return JpegResponse(operations.picture(camera_id), headers={"Cache-Control": "no-store"})


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


def _shape(camera: CameraStatus) -> CameraShape:
    return CameraShape.of(camera, f"/api/v1/cameras/{quote(camera.camera_id, safe='')}/picture")
