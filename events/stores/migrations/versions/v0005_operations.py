# SPDX-License-Identifier: AGPL-3.0-or-later
"""Operations alerts, how long each camera saw on each day, and indexes for lists without exercises."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables; what they tell was not kept before."""
    op.create_table(
        "operations",
        sa.Column("alert_id", sa.String(64), primary_key=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("place", sa.String(255), nullable=False),
        sa.Column("began_at", sa.String(27), nullable=False),
        sa.Column("opened_at", sa.String(27), nullable=False),
        sa.Column("updated_at", sa.String(27), nullable=False),
        sa.Column("ended_at", sa.String(27)),
        sa.Column("count", sa.Integer, nullable=False),
        sa.Column("most", sa.Integer, nullable=False),
        sa.Column("members", sa.Text, nullable=False),
    )
    op.create_index("operations_newest", "operations", ["opened_at", "alert_id"])
    op.create_index("operations_ended", "operations", ["ended_at", "opened_at", "alert_id"])
    op.create_table(
        "camera_days",
        sa.Column("camera_id", sa.String(128), primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        sa.Column("seeing_s", sa.Double, nullable=False),
        sa.Column("degraded_s", sa.Double, nullable=False),
        sa.Column("blind_s", sa.Double, nullable=False),
        sa.Column("off_s", sa.Double, nullable=False),
        sa.Column("maintenance_s", sa.Double, nullable=False),
        sa.Column("elsewhere_s", sa.Double, nullable=False),
        sa.Column("looked_at_s", sa.Double, nullable=False),
    )
    op.create_index("camera_days_day", "camera_days", ["day"])
    op.create_index("incidents_mode", "incidents", ["run_mode", "opened_at", "incident_id"])
    op.create_index(
        "incidents_mode_decision", "incidents", ["run_mode", "decision", "opened_at", "incident_id"]
    )
