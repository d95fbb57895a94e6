"""Batches that grow: what a tail has landed and nobody has sealed."""

from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.execute(
        """
        -- A batch that a tail has open: it grows piece by piece, each planned, sent, counted and shown by itself, and becomes a
        -- row of `batch` when it is sealed. Twenty pieces a second are so one row of `batch` a minute. At most one a partition.
        -- Nothing that changes with a piece is indexed, so a change is written beside the old row and needs no index entry.
        CREATE TABLE open_batch (
            topic_no     integer NOT NULL,
            partition    integer NOT NULL,
            batch_id     bigint NOT NULL DEFAULT nextval(pg_get_serial_sequence('batch', 'batch_id')),
            first_offset bigint NOT NULL,
            landed_end   bigint NOT NULL,        -- offsets below it are counted, and shown once the watermark is there
            sent_end     bigint NOT NULL,        -- offsets below it may have been sent
            messages     bigint NOT NULL DEFAULT 0,
            landed       bigint NOT NULL DEFAULT 0,
            quarantined  bigint NOT NULL DEFAULT 0,
            bytes        bigint NOT NULL DEFAULT 0,
            hours        timestamptz[] NOT NULL DEFAULT '{}',  -- event hours of its landed rows
            oldest_at    timestamptz,
            newest_at    timestamptz,
            last_offset  bigint,
            last_digest  bytea,
            holder       text NOT NULL,
            seal_asked   boolean NOT NULL DEFAULT false,
            created_at   timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (topic_no, partition),
            FOREIGN KEY (topic_no, partition) REFERENCES topic_partition,
            CHECK (first_offset <= landed_end AND landed_end <= sent_end),
            CHECK (messages = landed + quarantined AND messages <= landed_end - first_offset)
        ) WITH (fillfactor = 50);
        """
    )
