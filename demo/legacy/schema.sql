-- The old pipeline's tables, in database `legacy`. Run at each start; everything is kept.
CREATE SCHEMA IF NOT EXISTS legacy;

-- An event once per hour and id, as the team always had it. Of two that say the same, the one that Kafka had first counts.
CREATE TABLE IF NOT EXISTS legacy.events (
    id text NOT NULL,
    hour_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    kind text NOT NULL,
    actor text,               -- the account's id, else its login
    repo_id bigint,
    repo_name text,
    push_commits bigint,
    push_distinct_commits bigint,
    arrived_at timestamptz NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    PRIMARY KEY (hour_at, id)
);

CREATE TABLE IF NOT EXISTS legacy.payments (
    id text NOT NULL,
    hour_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL,
    status text NOT NULL,
    currency text NOT NULL,
    amount numeric(18, 4) NOT NULL,
    arrived_at timestamptz NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    PRIMARY KEY (hour_at, id)
);

CREATE TABLE IF NOT EXISTS legacy.rejected (
    topic_id uuid NOT NULL,
    kafka_partition integer NOT NULL,
    kafka_offset bigint NOT NULL,
    stream text NOT NULL,
    reason text NOT NULL,
    arrived_at timestamptz NOT NULL,
    value bytea,              -- its first 4 KiB
    PRIMARY KEY (topic_id, kafka_partition, kafka_offset)
);

-- How far it is. `next_offset`: consumed, in the same transaction as the events. `marts_next_offset`: shown in the marts.
CREATE TABLE IF NOT EXISTS legacy.progress (
    topic text NOT NULL,
    topic_id uuid NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL,
    marts_next_offset bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (topic_id, partition)
);

-- Hours whose marts must be computed anew.
CREATE TABLE IF NOT EXISTS legacy.touched (
    stream text NOT NULL,
    hour_at timestamptz NOT NULL,
    PRIMARY KEY (stream, hour_at)
);

CREATE TABLE IF NOT EXISTS legacy.events_by_kind_minute (
    minute_at timestamptz NOT NULL,
    kind text NOT NULL,
    events bigint NOT NULL,
    actors bigint NOT NULL,
    PRIMARY KEY (minute_at, kind)
);

CREATE TABLE IF NOT EXISTS legacy.events_by_kind_hour (
    hour_at timestamptz NOT NULL,
    kind text NOT NULL,
    events bigint NOT NULL,
    actors bigint NOT NULL,
    PRIMARY KEY (hour_at, kind)
);

CREATE TABLE IF NOT EXISTS legacy.top_repositories_hour (
    hour_at timestamptz NOT NULL,
    rank bigint NOT NULL,
    repo_id bigint NOT NULL,
    repo_name text NOT NULL,
    events bigint NOT NULL,
    actors bigint NOT NULL,
    PRIMARY KEY (hour_at, rank)
);

CREATE TABLE IF NOT EXISTS legacy.push_sizes_hour (
    hour_at timestamptz PRIMARY KEY,
    pushes bigint NOT NULL,
    pushes_without_size bigint NOT NULL,
    pushes_without_distinct_size bigint NOT NULL,
    commits numeric(38, 0) NOT NULL,
    distinct_commits numeric(38, 0) NOT NULL,
    p50_commits bigint,
    p90_commits bigint,
    p99_commits bigint,
    max_commits bigint
);

CREATE TABLE IF NOT EXISTS legacy.payments_hour (
    hour_at timestamptz NOT NULL,
    currency_code text NOT NULL,
    status text NOT NULL,
    payments bigint NOT NULL,
    amount numeric(38, 4) NOT NULL,
    PRIMARY KEY (hour_at, currency_code, status)
);
