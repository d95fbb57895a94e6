"""The names of databases, tables and topics: one grammar, in one place.

Belongs here: pure functions from a stream, mart or lane to an identifier. Does not: anything that connects or reads.

Units stand in column names (`_seconds`, `_bytes`, `_rows`); times are UTC and end in `_at` (an instant), `_minute`,
`_hour` or `_day` (the start of a window). Columns that the platform adds to events begin with an underscore.
"""

from __future__ import annotations

import re

STAGING_RAW = "staging_raw"  # what landed, committed or not; read by the staging views alone
STAGING = "staging"  # views over it that show committed offsets only
LEDGER = "ledger"  # the mirror of what the ledger (PostgreSQL) has committed
INTERMEDIATE = "intermediate"  # dbt: de-duplicated, renamed
MARTS = "marts"  # published, gated tables
SERVING = "serving"  # views: the one thing that analysts read
RECON = "recon"  # measurements of old against new
OPS = "ops"  # freshness, query log, what operators read

LANE_MINUTE = "minute"
LANE_HOUR = "hour"
LANE_BACKFILL = "backfill"

# PostgreSQL databases
LEDGER_DATABASE = "lockgate"
DAGSTER_DATABASE = "dagster"
LEGACY_DATABASE = "legacy"

ARRIVED = "__arrived"  # how tables of arrivals end
NOW = "__now"  # and the views that show them

QUARANTINE = f"{STAGING_RAW}.quarantine"
VISIBLE = f"{LEDGER}.visible"
DISCARDED = f"{LEDGER}.discarded"
QUARANTINE_HISTORY = f"{LEDGER}.quarantine_history"

_IDENTIFIER = re.compile(r"[a-z][a-z0-9_]{0,62}")


def check_identifier(name: str) -> str:
    """`name` itself if it is a plain lower-case identifier (1 to 63 characters), else ValueError.

    Every name that reaches SQL unquoted passes through here.
    """
    if not _IDENTIFIER.fullmatch(name):
        raise ValueError(f"{name!r} is not a name of lower-case letters, digits and underscores (at most 63)")
    return name


def staging_raw(stream: str) -> str:
    """The table that holds a stream's landed rows of every generation."""
    return f"{STAGING_RAW}.{check_identifier(stream)}"


def inbox(stream: str) -> str:
    """The Null table that a batch is inserted into; its views fill `staging_raw` and the quarantine."""
    return f"{STAGING_RAW}.{check_identifier(stream)}__inbox"


def few_inbox(stream: str) -> str:
    """The Null table that few events are inserted into; what is not plainly right of them is refused, not quarantined."""
    return f"{STAGING_RAW}.{check_identifier(stream)}__few"


def arrivals(stream: str) -> str:
    """The table in memory of what a tail has read and not landed yet."""
    return f"{STAGING_RAW}.{check_identifier(stream)}{ARRIVED}"


def staging(stream: str) -> str:
    """The view of a stream's committed rows."""
    return f"{STAGING}.{check_identifier(stream)}"


def staging_now(stream: str) -> str:
    """The view of a stream's committed rows and, where a tail follows it, of what has arrived since."""
    return f"{staging(stream)}{NOW}"


def candidate_database(lane: str) -> str:
    """The database of a lane's candidates: `minute`, `backfill`, or a person's name."""
    return f"candidate_{check_identifier(lane)}"


def candidate(lane: str, mart: str) -> str:
    return f"{candidate_database(lane)}.{check_identifier(mart)}"


def mart(name: str) -> str:
    return f"{MARTS}.{check_identifier(name)}"


def serving(name: str) -> str:
    return f"{SERVING}.{check_identifier(name)}"
