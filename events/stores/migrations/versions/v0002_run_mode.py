# SPDX-License-Identifier: AGPL-3.0-or-later
"""The run mode of an incident as a column: an exercise and the real thing are never one incident."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column, and fill it from what each incident says of itself."""
    column = sa.Column("run_mode", sa.String(16), nullable=False, server_default="actual")
    op.add_column("incidents", column)
    incidents = sa.table("incidents", sa.column("incident_id"), sa.column("state"), sa.column("run_mode"))
    connection = op.get_bind()
    for incident_id, state in connection.execute(sa.select(incidents.c.incident_id, incidents.c.state)).all():
        run_mode = json.loads(state)["alert"]["run_mode"]
        connection.execute(
            sa.update(incidents).where(incidents.c.incident_id == incident_id).values(run_mode=run_mode)
        )
