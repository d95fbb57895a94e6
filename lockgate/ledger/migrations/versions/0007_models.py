"""Which model a mart's published rows were built by."""

from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.execute(
        """
        -- The checksum of the SQL (or the Spark job) that the rows of an hour were built by; null: before it was written down.
        ALTER TABLE build ADD COLUMN model text;
        ALTER TABLE mart_hour ADD COLUMN model text;
        """
    )
