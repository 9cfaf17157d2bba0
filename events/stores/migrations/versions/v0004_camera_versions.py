# SPDX-License-Identifier: AGPL-3.0-or-later
"""The cameras as a register of versions: what each was, who changed it and when."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table; it is filled from the configuration's cameras at the next start."""
    op.create_table(
        "camera_versions",
        sa.Column(
            "version",
            sa.BigInteger().with_variant(sa.Integer, "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("camera_id", sa.String(128), nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("removed", sa.Boolean, nullable=False),
        sa.Column("origin", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
    )
    op.create_index("camera_versions_camera", "camera_versions", ["camera_id", "version"])
