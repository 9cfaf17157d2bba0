# SPDX-License-Identifier: AGPL-3.0-or-later
"""Journal, counter, incidents, replies. Written out, because a migration must not follow later changes of the schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the first tables."""
    _journal()
    op.create_table(
        "counter",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.BigInteger, nullable=False),
        sa.Column("last_hash", sa.String(64), nullable=False),
        sa.Column("epoch", sa.String(32), nullable=False),
    )
    _incidents()
    op.create_table(
        "replies",
        sa.Column("source", sa.String(200), primary_key=True),
        sa.Column("reply_id", sa.String(200), primary_key=True),
        sa.Column("case_id", sa.String(128)),
        sa.Column("case_revision", sa.BigInteger),
        sa.Column("content_hash", sa.String(64), nullable=False),
        sa.Column("seq", sa.BigInteger, sa.ForeignKey("journal.seq"), nullable=False),
    )
    op.create_index("replies_case", "replies", ["source", "case_id", "case_revision"], unique=True)


def _journal() -> None:
    op.create_table(
        "journal",
        sa.Column(
            "seq", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True, autoincrement=False
        ),
        sa.Column("incident_id", sa.String(64), nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("actor", sa.String(128), nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("payload", sa.Text),
        sa.Column("payload_hash", sa.String(64), nullable=False),
        sa.Column("prev_hash", sa.String(64), nullable=False),
        sa.Column("row_hash", sa.String(64), nullable=False, unique=True),
        sa.Column("message_id", sa.String(96), unique=True),
    )
    op.create_index("journal_incident", "journal", ["incident_id", "seq"])


def _incidents() -> None:
    op.create_table(
        "incidents",
        sa.Column("incident_id", sa.String(64), primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("subtype", sa.String(32), nullable=False),
        sa.Column("camera_id", sa.String(128), nullable=False),
        sa.Column("activity", sa.String(16), nullable=False),
        sa.Column("decision", sa.String(16), nullable=False),
        sa.Column("case_state", sa.String(16), nullable=False),
        sa.Column("clip_state", sa.String(16), nullable=False),
        sa.Column("opened_at", sa.String(27), nullable=False),
        sa.Column("ended_at", sa.String(27)),
        sa.Column("state", sa.Text, nullable=False),
    )
    op.create_index("incidents_place", "incidents", ["camera_id", "kind", "subtype", "opened_at"])
    op.create_index("incidents_newest", "incidents", ["opened_at", "incident_id"])
    op.create_index("incidents_activity", "incidents", ["activity", "opened_at"])
    op.create_index("incidents_clip", "incidents", ["clip_state"])
