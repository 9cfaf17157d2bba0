# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tables. Times are fixed-width UTC text, so that rows hash and sort alike on every database."""

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, String, Table, Text

METADATA = MetaData()
THE_COUNTER = 1  # the one row of `counter`

JOURNAL = Table(
    "journal",
    METADATA,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("incident_id", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("at", String(27), nullable=False),
    Column("payload", Text),
    Column("payload_hash", String(64), nullable=False),
    Column("prev_hash", String(64), nullable=False),
    Column("row_hash", String(64), nullable=False, unique=True),
    Column("message_id", String(96), unique=True),
    Index("journal_incident", "incident_id", "seq"),
)

COUNTER = Table(
    "counter",
    METADATA,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", BigInteger, nullable=False),
    Column("last_hash", String(64), nullable=False),
    Column("epoch", String(32), nullable=False),
)

INCIDENTS = Table(
    "incidents",
    METADATA,
    Column("incident_id", String(64), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("subtype", String(32), nullable=False),
    Column("camera_id", String(128), nullable=False),
    Column("run_mode", String(16), nullable=False, server_default="actual"),
    Column("activity", String(16), nullable=False),
    Column("decision", String(16), nullable=False),
    Column("case_state", String(16), nullable=False),
    Column("clip_state", String(16), nullable=False),
    Column("opened_at", String(27), nullable=False),
    Column("ended_at", String(27)),
    Column("state", Text, nullable=False),
    Index("incidents_place", "camera_id", "kind", "subtype", "opened_at"),
    Index("incidents_newest", "opened_at", "incident_id"),
    Index("incidents_activity", "activity", "opened_at"),
    Index("incidents_clip", "clip_state"),
)

REPLIES = Table(
    "replies",
    METADATA,
    Column("source", String(200), primary_key=True),
    Column("reply_id", String(200), primary_key=True),
    Column("case_id", String(128)),
    Column("case_revision", BigInteger),
    Column("content_hash", String(64), nullable=False),
    Column("seq", BigInteger, ForeignKey("journal.seq"), nullable=False),
    Index("replies_case", "source", "case_id", "case_revision", unique=True),
)
