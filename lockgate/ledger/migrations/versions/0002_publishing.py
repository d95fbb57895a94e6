"""Builds, gate outcomes, publications, ticks."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.execute(
        """
        CREATE TYPE build_state AS ENUM
            ('planned', 'built', 'passed', 'publishing', 'published', 'failed', 'abandoned');

        -- One attempt to bring windows of a mart up to date on a lane.
        CREATE TABLE build (
            build_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            mart        text NOT NULL,
            lane        text NOT NULL,
            state       build_state NOT NULL DEFAULT 'planned',
            hours       jsonb NOT NULL,      -- [[hour, version], …] that it takes in
            windows     jsonb NOT NULL,      -- [[from, to], …] that it rebuilds
            partitions  jsonb NOT NULL,      -- table partitions that it swaps
            base        jsonb NOT NULL,      -- partition -> publication that its clean windows were copied from
            fingerprint jsonb,               -- partition -> [rows, sum of row hashes], as gated
            arrived_through timestamptz,     -- arrival of the newest event that it can contain
            message     text,
            holder      text NOT NULL,
            created_at  timestamptz NOT NULL DEFAULT now(),
            changed_at  timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX build_open ON build (lane, mart) WHERE state NOT IN ('published', 'failed', 'abandoned');
        CREATE INDEX build_recent ON build (mart, build_id DESC);

        CREATE TABLE gate_outcome (
            gate_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            build_id  bigint REFERENCES build,   -- null: a gate over what landed
            suite     text NOT NULL,
            subject   text NOT NULL,
            success   boolean NOT NULL,
            outcome   jsonb NOT NULL,
            gated_at  timestamptz NOT NULL DEFAULT now()
        );
        CREATE INDEX gate_outcome_build ON gate_outcome (build_id);
        CREATE INDEX gate_outcome_time ON gate_outcome (gated_at);

        CREATE TABLE publication (
            publication_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            build_id       bigint NOT NULL REFERENCES build,
            mart           text NOT NULL,
            partition      text NOT NULL,
            row_count      bigint NOT NULL,
            started_at     timestamptz NOT NULL DEFAULT now(),
            finished_at    timestamptz          -- null: under way, or killed half-way and to be finished
        );
        CREATE INDEX publication_latest ON publication (mart, partition, publication_id DESC);

        -- The version of each event hour that a mart's published rows were built from.
        CREATE TABLE mart_hour (
            mart         text NOT NULL,
            hour         timestamptz NOT NULL,
            version      bigint NOT NULL,
            published_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (mart, hour)
        );

        CREATE TABLE lease (
            name        text PRIMARY KEY,
            holder      text NOT NULL,
            epoch       bigint NOT NULL,
            lease_until timestamptz NOT NULL
        );

        CREATE TABLE tick (
            tick_id    bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            source     text NOT NULL,
            started_at timestamptz NOT NULL DEFAULT now(),
            ended_at   timestamptz,
            summary    jsonb
        );
        """
    )
