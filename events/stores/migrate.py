# SPDX-License-Identifier: AGPL-3.0-or-later
"""Brings a database to the schema of this version, inside the caller's transaction."""

from pathlib import Path

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from events.stores.schema import METADATA


def is_current(connection: Connection) -> bool:
    """Tell whether the database has this version's schema; nothing is changed."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    return MigrationContext.configure(connection).get_current_revision() == head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    return config


def migrate(connection: Connection, to: str = "head") -> None:
    """Run the migrations that are missing up to revision `to`. One thread at a time in a process: Alembic's `op` is global to it."""
    config = _config()
    script = ScriptDirectory.from_config(config)

    def steps(heads: tuple[str, ...], _context: MigrationContext) -> list[RevisionStep]:
        return script._upgrade_revs(to, heads)  # type: ignore[arg-type]  # noqa: SLF001  as its own command does

    with EnvironmentContext(config, script, fn=steps) as environment:
        environment.configure(connection=connection, target_metadata=METADATA, fn=steps)
        with environment.begin_transaction():
            environment.run_migrations()
