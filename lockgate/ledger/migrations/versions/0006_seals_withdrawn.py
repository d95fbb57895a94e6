"""Seals can be withdrawn, and say why."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.execute(
        """
        -- In force is the latest `through` of a stream since its last row that withdraws, that row included: withdrawing
        -- with a `through` moves the seal back, without one nothing is sealed any more. Rows are never changed.
        ALTER TABLE seal
            ALTER COLUMN through DROP NOT NULL,
            ADD COLUMN withdraws boolean NOT NULL DEFAULT false,
            ADD COLUMN why text NOT NULL DEFAULT '',
            ADD CHECK (withdraws OR through IS NOT NULL);
        """
    )
