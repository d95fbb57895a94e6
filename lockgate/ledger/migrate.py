"""Bring the ledger's tables to this version of the code (alembic; the steps are in `migrations/versions`)."""

from __future__ import annotations

from pathlib import Path

from lockgate.clients.postgres import PostgresUnavailable

_FOLDER = Path(__file__).parent / "migrations"


def migrate(url: str) -> None:
    """Apply what is missing; does nothing where all is there. `url`: the ledger's database (libpq form).

    Two at once are safe: a session lock makes the second wait. Raises PostgresUnavailable.
    """
    from alembic import command
    from alembic.config import Config
    from sqlalchemy.exc import OperationalError

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.attributes["url"] = url.replace("postgresql://", "postgresql+psycopg://", 1)
    try:
        command.upgrade(config, "head")
    except OperationalError as error:
        raise PostgresUnavailable(f"PostgreSQL does not answer: {error.orig}") from error
