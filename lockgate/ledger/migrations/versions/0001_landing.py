"""Topics, partitions, batches, visibility, hours."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.execute(
        """
        -- One row an incarnation of a topic: a topic that is deleted and made again starts its offsets anew.
        CREATE TABLE topic (
            topic_no      integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            topic_id      uuid NOT NULL UNIQUE,
            topic         text NOT NULL,
            stream        text NOT NULL,
            first_seen_at timestamptz NOT NULL DEFAULT now(),
            retired_at    timestamptz
        );

        CREATE TABLE topic_partition (
            topic_no           integer NOT NULL REFERENCES topic,
            partition          integer NOT NULL CHECK (partition >= 0),
            planned_end        bigint NOT NULL,      -- offsets below it belong to some batch
            visible_end        bigint NOT NULL,      -- offsets below it are committed: the watermark
            exceptions         jsonb NOT NULL DEFAULT '[]',  -- [[first, end, generation], …] where it is not 0
            version            bigint NOT NULL DEFAULT 0,    -- grows with each change of the two above
            stopped_because    text,                 -- set: lands no further until somebody decides
            stopped_at         timestamptz,
            PRIMARY KEY (topic_no, partition),
            CHECK (visible_end <= planned_end)
        );

        -- What people have decided about stopped partitions, signed. Offsets given up are batches that name their decision.
        CREATE TABLE decision (
            decision_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            topic_no        integer NOT NULL,
            partition       integer NOT NULL,
            stopped_because text NOT NULL,
            resumed_at      bigint NOT NULL,         -- the offset to go on from
            decided_by      text NOT NULL,
            decided_at      timestamptz NOT NULL DEFAULT now(),
            FOREIGN KEY (topic_no, partition) REFERENCES topic_partition
        );

        CREATE TYPE batch_state AS ENUM ('intent', 'committed');

        CREATE TABLE batch (
            batch_id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            topic_no     integer NOT NULL,
            partition    integer NOT NULL,
            first_offset bigint NOT NULL,
            end_offset   bigint NOT NULL,            -- exclusive
            generation   integer NOT NULL DEFAULT 0, -- each is sent to the warehouse at most once
            epoch        integer NOT NULL DEFAULT 1, -- fencing: grows with each take-over
            holder       text NOT NULL,
            lease_until  timestamptz NOT NULL,
            state        batch_state NOT NULL DEFAULT 'intent',
            messages     bigint,                     -- read from Kafka; offsets without one are gaps
            landed       bigint,
            quarantined  bigint,
            gaps         bigint,
            bytes        bigint,
            oldest_at    timestamptz,                -- arrival of its first and last message
            newest_at    timestamptz,
            decision_id  bigint REFERENCES decision, -- set: given up, all of it gaps
            gated        boolean NOT NULL DEFAULT false,  -- the gate over what landed has passed it
            created_at   timestamptz NOT NULL DEFAULT now(),
            committed_at timestamptz,
            FOREIGN KEY (topic_no, partition) REFERENCES topic_partition,
            CHECK (first_offset < end_offset),
            CHECK (state = 'intent' OR messages = landed + quarantined),
            CHECK (state = 'intent' OR messages + gaps = end_offset - first_offset),
            -- No offset is in two live ranges. Ranges of one number stand for equality: that needs no extension.
            EXCLUDE USING gist (
                int4range(topic_no, topic_no, '[]') WITH &&,
                int4range(partition, partition, '[]') WITH &&,
                int8range(first_offset, end_offset) WITH &&
            )
        );
        CREATE INDEX batch_intents ON batch (topic_no, partition, first_offset) WHERE state = 'intent';
        CREATE INDEX batch_ungated ON batch (topic_no, batch_id) WHERE NOT gated;
        CREATE INDEX batch_committed ON batch (committed_at);

        -- Event hours of committed batches, until the watermark passes the batch and they become changes of the hour.
        CREATE TABLE batch_hour (
            batch_id bigint NOT NULL REFERENCES batch ON DELETE CASCADE,
            hour     timestamptz NOT NULL,
            PRIMARY KEY (batch_id, hour)
        );

        CREATE SEQUENCE change_version;

        -- The version of an event hour grows whenever rows of it become visible: what was built from an older one is stale.
        CREATE TABLE stream_hour (
            stream  text NOT NULL,
            hour    timestamptz NOT NULL,
            version bigint NOT NULL,
            PRIMARY KEY (stream, hour)
        );

        -- The source has promised that nothing older than `through` will come.
        CREATE TABLE seal (
            seal_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            stream    text NOT NULL,
            through   timestamptz NOT NULL,
            sealed_by text NOT NULL,
            sealed_at timestamptz NOT NULL DEFAULT now()
        );
        """
    )
