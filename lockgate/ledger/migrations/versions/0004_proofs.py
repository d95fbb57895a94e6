"""Proofs of completeness, replays, and decisions about quarantined messages."""

from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.execute(
        """
        -- Offsets without a row that no marker and no compaction explains, but a decision: part of `gaps`.
        ALTER TABLE batch ADD COLUMN given_up bigint NOT NULL DEFAULT 0,
            ADD COLUMN proven boolean;           -- null: not counted again since it was committed
        UPDATE batch SET given_up = gaps WHERE decision_id IS NOT NULL;
        ALTER TABLE batch ADD CHECK (given_up = 0 OR given_up <= gaps);
        CREATE INDEX batch_unproven ON batch (topic_no, batch_id) WHERE proven IS NOT TRUE;
        CREATE INDEX batch_arrival ON batch (topic_no, newest_at);

        -- What the warehouse shows of a live batch in an hour of arrival, as last counted there.
        CREATE TABLE proof (
            batch_id     bigint NOT NULL REFERENCES batch ON DELETE CASCADE,
            hour         timestamptz NOT NULL,
            first_offset bigint NOT NULL,
            end_offset   bigint NOT NULL,
            landed       bigint NOT NULL,
            quarantined  bigint NOT NULL,        -- and not discarded
            discarded    bigint NOT NULL,
            gaps         bigint NOT NULL,        -- transaction markers, compaction
            given_up     bigint NOT NULL,        -- by a decision
            expired      bigint NOT NULL,        -- by the contract's retention
            missing      bigint NOT NULL,
            doubled      bigint NOT NULL,
            faults       text[] NOT NULL,
            counted_at   timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (batch_id, hour)
        );

        -- Offsets that a decision is about where they are not a whole batch of gaps: rows that the warehouse has lost for good.
        CREATE TABLE decision_range (
            decision_id  bigint NOT NULL REFERENCES decision,
            first_offset bigint NOT NULL,
            end_offset   bigint NOT NULL,
            PRIMARY KEY (decision_id, first_offset)
        );

        -- Ranges that are to land anew, as another generation; or quarantined messages, with the batches they are in.
        CREATE TYPE replay_state AS ENUM (
            'open',       -- being written: nobody sees anything of it
            'live',       -- swapped in; what it replaced is still stored
            'verified',   -- and readers see what was counted
            'swept',      -- and what it replaced is stored no longer
            'abandoned'   -- never swapped in; what it wrote is to be swept
        );
        CREATE TABLE replay (
            replay_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            stream      text NOT NULL,
            wanted      jsonb NOT NULL,          -- as it was asked for; asked again while it is open, it is gone on with
            parser      text NOT NULL,           -- digest of what parses the stream's messages
            asked_by    text NOT NULL,
            state       replay_state NOT NULL DEFAULT 'open',
            created_at  timestamptz NOT NULL DEFAULT now(),
            live_at     timestamptz,
            verified_at timestamptz,
            ended_at    timestamptz              -- swept or abandoned
        );
        CREATE INDEX replay_unfinished ON replay (stream) WHERE state <> 'swept';

        -- A batch of a replay: as many neighbouring live batches as one batch may be large.
        CREATE TABLE replay_batch (
            batch_id     bigint PRIMARY KEY DEFAULT nextval(pg_get_serial_sequence('batch', 'batch_id')),
            replay_id    bigint NOT NULL REFERENCES replay,
            topic_no     integer NOT NULL,
            partition    integer NOT NULL,
            first_offset bigint NOT NULL,
            end_offset   bigint NOT NULL,
            generation   integer NOT NULL,       -- new for all of its offsets; each is written at most once
            epoch        integer NOT NULL DEFAULT 0,
            holder       text NOT NULL DEFAULT '',
            lease_until  timestamptz NOT NULL DEFAULT '-infinity',
            open         boolean NOT NULL DEFAULT true,  -- its replay may still be swapped in
            source       text,                   -- 'kafka' or 'staging': where its bytes came from
            messages     bigint,                 -- set with the next three when the warehouse has counted it
            landed       bigint,
            quarantined  bigint,
            hours        timestamptz[],          -- event hours that it changes
            FOREIGN KEY (topic_no, partition) REFERENCES topic_partition,
            CHECK (first_offset < end_offset),
            -- Two replays never work on the same offsets.
            EXCLUDE USING gist (
                int4range(topic_no, topic_no, '[]') WITH &&,
                int4range(partition, partition, '[]') WITH &&,
                int8range(first_offset, end_offset) WITH &&
            ) WHERE (open)
        );
        CREATE INDEX replay_batch_replay ON replay_batch (replay_id);
        CREATE INDEX replay_batch_place ON replay_batch (topic_no, partition, first_offset);

        -- Batches that a replay has taken the place of.
        CREATE TABLE replaced_batch (
            batch_id   bigint PRIMARY KEY,
            replay_id  bigint NOT NULL REFERENCES replay,
            new_batch  bigint NOT NULL,
            generation integer NOT NULL,
            as_it_was  jsonb NOT NULL            -- its row of `batch`
        );
        CREATE INDEX replaced_batch_replay ON replaced_batch (replay_id);

        -- Quarantined messages that will not land, because a person says so. Their rows stay until their retention ends.
        CREATE TABLE discard (
            discard_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            stream     text NOT NULL,
            wanted     jsonb NOT NULL,           -- as it was asked for
            messages   bigint NOT NULL,
            decided_by text NOT NULL,
            why        text NOT NULL,
            decided_at timestamptz NOT NULL DEFAULT now(),
            mirrored_at timestamptz              -- the warehouse has been told
        );
        CREATE TABLE discard_range (
            discard_id   bigint NOT NULL REFERENCES discard,
            topic_no     integer NOT NULL,
            partition    integer NOT NULL,
            first_offset bigint NOT NULL,        -- each offset of the range is one such message; all of one batch
            end_offset   bigint NOT NULL,
            FOREIGN KEY (topic_no, partition) REFERENCES topic_partition,
            CHECK (first_offset < end_offset),
            -- A message is discarded once.
            EXCLUDE USING gist (
                int4range(topic_no, topic_no, '[]') WITH &&,
                int4range(partition, partition, '[]') WITH &&,
                int8range(first_offset, end_offset) WITH &&
            )
        );
        CREATE INDEX discard_range_discard ON discard_range (discard_id);
        CREATE INDEX discard_range_place ON discard_range (topic_no, partition, first_offset);
        """
    )
