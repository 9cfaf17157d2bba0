# SPDX-License-Identifier: AGPL-3.0-or-later
"""The tables. Times are fixed-width UTC text, so that rows hash and sort alike on every database."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    text,
)

METADATA = MetaData()
THE_COUNTER = 1  # the one row of `counter`
DUE = "message_id IS NOT NULL"
OPEN = "activity <> 'ended'"
PLACE = ("camera_id", "kind", "subtype", "opened_at", "incident_id")

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
    Index("journal_due", "seq", sqlite_where=text(DUE), postgresql_where=text(DUE)),
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
    Index("incidents_place", *PLACE),
    Index("incidents_newest", "opened_at", "incident_id"),
    Index("incidents_activity", "activity", "opened_at", "incident_id"),
    Index("incidents_clip", "clip_state"),
    Index("incidents_kind", "kind", "opened_at", "incident_id"),
    Index("incidents_decision", "decision", "opened_at", "incident_id"),
    Index("incidents_camera", "camera_id", "opened_at", "incident_id"),
    Index("incidents_mode", "run_mode", "opened_at", "incident_id"),
    Index("incidents_mode_decision", "run_mode", "decision", "opened_at", "incident_id"),
    Index("incidents_sort", "kind", "decision", "opened_at", "incident_id"),
    Index("incidents_open", "opened_at", "incident_id", sqlite_where=text(OPEN), postgresql_where=text(OPEN)),
    Index("incidents_open_place", *PLACE, sqlite_where=text(OPEN), postgresql_where=text(OPEN)),
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

# The epochs of this store, the newest being the counter's: a restore begins one. `follows` is the epoch that it goes on
# from, and `followed_until` the last row of that one that this journal shares with it.
EPOCHS = Table(
    "epochs",
    METADATA,
    Column("epoch", String(32), primary_key=True),
    Column("first_seq", BigInteger, nullable=False),
    Column("follows", String(32)),
    Column("followed_until", BigInteger),
    Column("at", String(27)),
)

DEAD_LETTERS = Table(
    "dead_letters",
    METADATA,
    Column("seq", BigInteger, ForeignKey("journal.seq"), primary_key=True, autoincrement=False),
    Column("reason", Text, nullable=False),
    Column("at", String(27), nullable=False),
    Column("replayed_seq", BigInteger, ForeignKey("journal.seq")),
)

TOKENS = Table(
    "tokens",
    METADATA,
    Column("token_id", String(16), primary_key=True),
    Column("name", String(64), nullable=False),
    Column("role", String(16), nullable=False),
    Column("hash", String(64), nullable=False),
    Column("made_at", String(27), nullable=False),
    Column("expires_at", String(27)),
    Column("revoked_at", String(27)),
    Column("last_used_at", String(27)),
    Index("tokens_hash", "hash", unique=True),
)

# Every change of a camera, the newest being what it is; `version` rises by one a row, over all cameras together.
CAMERA_VERSIONS = Table(
    "camera_versions",
    METADATA,
    Column("version", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=False),
    Column("camera_id", String(128), nullable=False),
    Column("document", Text, nullable=False),
    Column("removed", Boolean, nullable=False),
    Column("origin", String(16), nullable=False),
    Column("actor", String(128), nullable=False),
    Column("at", String(27), nullable=False),
    Index("camera_versions_camera", "camera_id", "version"),
)

# What keeps cameras from seeing, told to whoever keeps the system running: no incident, and in no journal.
OPERATIONS = Table(
    "operations",
    METADATA,
    Column("alert_id", String(64), primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("place", String(255), nullable=False),
    Column("began_at", String(27), nullable=False),
    Column("opened_at", String(27), nullable=False),
    Column("updated_at", String(27), nullable=False),
    Column("ended_at", String(27)),
    Column("count", Integer, nullable=False),
    Column("most", Integer, nullable=False),
    Column("members", Text, nullable=False),
    Index("operations_newest", "opened_at", "alert_id"),
    Index("operations_ended", "ended_at", "opened_at", "alert_id"),
)

# Seconds of each camera and local day (`2026-11-26`), by what its sight was.
CAMERA_DAYS = Table(
    "camera_days",
    METADATA,
    Column("camera_id", String(128), primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("seeing_s", Double, nullable=False),
    Column("degraded_s", Double, nullable=False),
    Column("blind_s", Double, nullable=False),
    Column("off_s", Double, nullable=False),
    Column("maintenance_s", Double, nullable=False),
    Column("elsewhere_s", Double, nullable=False),
    Column("looked_at_s", Double, nullable=False),
    Index("camera_days_day", "day"),
)

# Which incident a stored file belongs to; one file may belong to several.
EVIDENCE = Table(
    "evidence",
    METADATA,
    Column("incident_id", String(64), primary_key=True),
    Column("sha256", String(64), primary_key=True),
    Column("suffix", String(16), nullable=False),
    Column("bytes", BigInteger),
    Column("stored_at", String(27), nullable=False),
    Column("deleted_at", String(27)),
    Column("deleted_why", String(32)),
    Index("evidence_file", "sha256"),
    Index("evidence_age", "deleted_at", "stored_at"),
)

# How many incidents hold a value of these columns: kept as they change, never counted anew.
TALLIED = ("kind", "activity", "decision", "case_state")
TALLIES = Table(
    "tallies",
    METADATA,
    Column("field", String(16), primary_key=True),
    Column("value", String(32), primary_key=True),
    Column("count", BigInteger, nullable=False),
)
