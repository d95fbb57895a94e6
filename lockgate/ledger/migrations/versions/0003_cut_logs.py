"""Logs that were cut, and why people decided what they did."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.execute(
        """
        -- `topic_id` is what rows carry, `kafka_id` what Kafka calls the topic. They differ for what came after a log was
        -- cut: its offsets begin again within the same topic, so it has an incarnation of its own.
        ALTER TABLE topic ADD COLUMN kafka_id uuid;
        UPDATE topic SET kafka_id = topic_id;
        ALTER TABLE topic ALTER COLUMN kafka_id SET NOT NULL;

        -- The last message that a batch landed, and that stands before a partition's watermark: offset and digest. If Kafka
        -- has another message there, its log was cut and has grown again.
        ALTER TABLE batch ADD COLUMN last_offset bigint, ADD COLUMN last_digest bytea;
        ALTER TABLE topic_partition ADD COLUMN last_offset bigint, ADD COLUMN last_digest bytea,
            ADD COLUMN ended_at timestamptz;  -- set: another incarnation goes on in its place

        ALTER TABLE decision ADD COLUMN why text NOT NULL DEFAULT '';
        """
    )
