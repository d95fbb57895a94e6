"""Attributes that were filled for history."""

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(
        """
        -- One row an attribute and table partition of staging (a day of arrival). Written before its rows change, so that the
        -- event hours in which they do are known whatever becomes of the process.
        CREATE TABLE fill (
            stream      text NOT NULL,
            attribute   text NOT NULL,
            partition   text NOT NULL,
            definition  text NOT NULL,                  -- digest of how the attribute is read
            hours       timestamptz[] NOT NULL,         -- in which rows change and that have no new version for it yet
            counts      jsonb,                          -- of its rows, once finished
            as_of       timestamptz,                    -- by the warehouse's clock: what was written later was not looked at
            filled_by   text NOT NULL,
            began_at    timestamptz NOT NULL DEFAULT now(),
            finished_at timestamptz,
            PRIMARY KEY (stream, attribute, partition)
        );
        CREATE INDEX fill_open ON fill (stream) WHERE finished_at IS NULL;
        """
    )
