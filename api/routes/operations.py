# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations alerts: what keeps cameras from seeing, for who keeps the system running."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.routes.depends import Cursor, Limit, OperationsDep
from api.shapes import CoverageShape
from api.sight_shapes import OperationsAlertShape, OperationsShape
from events.troubles import TroubleKind

router = APIRouter(prefix="/api/v1", tags=["sight"])


@router.get("/operations", summary="What keeps cameras from seeing, newest first")
def list_operations(
    operations: OperationsDep,
    kind: TroubleKind | None = None,
    open: Annotated[bool, Query(description="only those that have not ended")] = False,  # noqa: A002  the filter's name
    cursor: Cursor = None,
    limit: Limit = 50,
) -> OperationsShape:
    """Return a page of operations alerts: faults that last, those that belong together as one. None of them is a case."""
    page = operations.operations_alerts(kind, cursor, limit, open_only=open)
    return OperationsShape(
        items=[OperationsAlertShape.of(alert) for alert in page.items],
        next=page.next,
        coverage=CoverageShape.of(operations.coverage()),
    )
