# SPDX-License-Identifier: AGPL-3.0-or-later
"""Epochs, dead letters, tokens, files of evidence and counts; indexes for a store of a million incidents."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

PAGE = 500  # incidents read at a time: a store may hold a million


def upgrade() -> None:
    """Make the tables, and fill those that say again what is known already."""
    _epochs()
    _dead_letters()
    _tokens()
    _evidence()
    _tallies()
    _indexes()


def _indexes() -> None:
    newest = ["opened_at", "incident_id"]
    op.drop_index("incidents_activity", "incidents")
    op.create_index("incidents_activity", "incidents", ["activity", *newest])
    op.create_index("incidents_kind", "incidents", ["kind", *newest])
    op.create_index("incidents_decision", "incidents", ["decision", *newest])
    op.create_index("incidents_camera", "incidents", ["camera_id", *newest])
    op.create_index("incidents_sort", "incidents", ["kind", "decision", *newest])
    still_open = "activity <> 'ended'"
    _create_partial("incidents_open", "incidents", newest, still_open)
    place = ["camera_id", "kind", "subtype", *newest]
    op.drop_index("incidents_place", "incidents")
    op.create_index("incidents_place", "incidents", place)
    _create_partial("incidents_open_place", "incidents", place, still_open)
    _create_partial("journal_due", "journal", ["seq"], "message_id IS NOT NULL")


def _create_partial(name: str, table: str, columns: list[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, sqlite_where=where, postgresql_where=where)


def _epochs() -> None:
    epochs = op.create_table(
        "epochs",
        sa.Column("epoch", sa.String(32), primary_key=True),
        sa.Column("first_seq", sa.BigInteger, nullable=False),
        sa.Column("follows", sa.String(32)),
        sa.Column("followed_until", sa.BigInteger),
        sa.Column("at", sa.String(27)),
    )
    epoch = op.get_bind().execute(sa.text("SELECT epoch FROM counter")).scalar()
    if epoch is not None:
        op.bulk_insert(epochs, [{"epoch": epoch, "first_seq": 1}])


def _dead_letters() -> None:
    op.create_table(
        "dead_letters",
        sa.Column("seq", sa.BigInteger, sa.ForeignKey("journal.seq"), primary_key=True, autoincrement=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("at", sa.String(27), nullable=False),
        sa.Column("replayed_seq", sa.BigInteger, sa.ForeignKey("journal.seq")),
    )


def _tokens() -> None:
    op.create_table(
        "tokens",
        sa.Column("token_id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        sa.Column("made_at", sa.String(27), nullable=False),
        sa.Column("expires_at", sa.String(27)),
        sa.Column("revoked_at", sa.String(27)),
        sa.Column("last_used_at", sa.String(27)),
    )
    op.create_index("tokens_hash", "tokens", ["hash"], unique=True)


def _evidence() -> None:
    op.create_table(
        "evidence",
        sa.Column("incident_id", sa.String(64), primary_key=True),
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("suffix", sa.String(16), nullable=False),
        sa.Column("bytes", sa.BigInteger),
        sa.Column("stored_at", sa.String(27), nullable=False),
        sa.Column("deleted_at", sa.String(27)),
        sa.Column("deleted_why", sa.String(32)),
    )
    op.create_index("evidence_file", "evidence", ["sha256"])
    op.create_index("evidence_age", "evidence", ["deleted_at", "stored_at"])
    _known_evidence(op.get_bind())


def _tallies() -> None:
    tallies = op.create_table(
        "tallies",
        sa.Column("field", sa.String(16), primary_key=True),
        sa.Column("value", sa.String(32), primary_key=True),
        sa.Column("count", sa.BigInteger, nullable=False),
    )
    connection = op.get_bind()
    for field in ("kind", "activity", "decision", "case_state"):
        counted = connection.execute(sa.text(f"SELECT {field}, count(*) FROM incidents GROUP BY {field}"))  # noqa: S608  the four names above
        rows = [{"field": field, "value": value, "count": count} for value, count in counted]
        if rows:
            op.bulk_insert(tallies, rows)


def _known_evidence(connection: sa.Connection) -> None:
    """List the files that the incidents name, so that retention needs not read their text."""
    incidents = sa.table("incidents", sa.column("incident_id"), sa.column("state"))
    evidence = sa.table(
        "evidence", *(sa.column(name) for name in ("incident_id", "sha256", "suffix", "stored_at"))
    )
    page = sa.select(incidents.c.incident_id, incidents.c.state).order_by(incidents.c.incident_id).limit(PAGE)
    last = ""
    while found := connection.execute(page.where(incidents.c.incident_id > last)).all():
        last = found[-1][0]
        values = [
            {"incident_id": incident_id, **row}
            for incident_id, text in found
            for row in _files(json.loads(text)).values()
        ]
        if values:
            connection.execute(sa.insert(evidence), values)


def _files(state: dict) -> dict[str, dict[str, str]]:  # type: ignore[type-arg]
    opened_at = state["alert"]["opened_at"]
    at = opened_at.replace("Z", "").split("+")[0]
    stored_at = (at if "." in at else at + ".").ljust(26, "0") + "Z"
    stills = [*state.get("stills", ()), state["alert"].get("still")]
    named = [
        pair
        for still in stills
        if still
        for pair in ((still["sha256"], ".jpg"), (still["masked_sha256"], ".masked.jpg"))
    ]
    clip = (state["alert"].get("clip") or {}).get("sha256")
    if clip:
        named.append((clip, ".mp4"))
    return {sha: {"sha256": sha, "suffix": suffix, "stored_at": stored_at} for sha, suffix in named}
