"""What landed in this tick, before anything is built from it: the committed rows of a range of batches."""

from __future__ import annotations

from expectations.parameters import INTEGER, STREAM, Parameter
from expectations.rules import Suite, no_rows, share_at_most
from lockgate.landing.extraction import EARLIEST

_BATCHES = "_batch BETWEEN {first_batch} AND {last_batch}"
_QUARANTINE = f"staging.quarantine WHERE stream = '{{stream}}' AND {_BATCHES}"
_LANDED = f"(SELECT count() FROM {{table}} WHERE {_BATCHES})"
_QUARANTINED = f"(SELECT count() FROM {_QUARANTINE})"
_REASONS = (
    "SELECT reason, _topic, _partition, count() AS messages, min(_offset) AS first_offset, max(_offset) AS last_offset"
    f" FROM {_QUARANTINE} GROUP BY reason, _topic, _partition ORDER BY messages DESC, reason, _topic, _partition"
)
_REPEATED = (
    "SELECT event_id, count() AS messages, arraySort(groupUniqArray(20)((_topic, _partition, _offset))) AS places"
    f" FROM {{table}} WHERE {_BATCHES} GROUP BY event_id HAVING messages > 1 ORDER BY messages DESC"
)
_ROW = f"SELECT _topic, _partition, _offset, _batch, _kafka_timestamp, event_at, event_kind FROM {{table}} WHERE {_BATCHES}"

# One bad message of three is a third, but no reason to stop a stream: the share blocks only where there is enough to share.
_ENOUGH_MESSAGES = 100

SUITE = Suite(
    owner="team-data-platform",
    runbook="docs/runbooks/landed-gate.md",
    parameters={
        "stream": STREAM,
        "first_batch": INTEGER,
        "last_batch": INTEGER,
        "ahead_seconds": Parameter(INTEGER.parse, required=False, default=86_400),  # the contract's `max_ahead`
    },
    rules=(
        no_rows(
            "offset_unique",
            f"SELECT _topic, _topic_id, _partition, _offset, count() AS rows, groupUniqArray(_batch) AS batches"
            f" FROM {{table}} WHERE {_BATCHES} GROUP BY _topic, _topic_id, _partition, _offset HAVING rows > 1",
            "each message stands once among the committed rows",
        ),
        no_rows(
            "offset_landed_or_quarantined",
            f"SELECT _topic, _topic_id, _partition, _offset, _batch FROM {{table}} WHERE {_BATCHES}"
            f" AND (_topic_id, _partition, _offset) IN (SELECT _topic_id, _partition, _offset FROM {_QUARANTINE})",
            "no message is both landed and quarantined",
        ),
        no_rows("identity", f"{_ROW} AND event_id = ''", "every event has an identity"),
        no_rows(
            "event_time",
            f"{_ROW} AND (event_at > _kafka_timestamp + INTERVAL {{ahead_seconds}} SECOND"
            f" OR event_at < toDateTime64('{EARLIEST}', 0, 'UTC'))",
            "no event lies further ahead of its arrival than its contract lets it, or before 1970-01-02: such are quarantined",
        ),
        no_rows("kind", f"{_ROW} AND event_kind = ''", "every event says of what kind it is", severity="warn"),
        share_at_most(
            "quarantine_share",
            _QUARANTINED,
            f"{_LANDED} + {_QUARANTINED}",
            1,
            "at most 1 % of the messages were quarantined",
            failing=_REASONS,
            severity="warn",
        ),
        share_at_most(
            "quarantine_share_high",
            f"if({_LANDED} + {_QUARANTINED} < {_ENOUGH_MESSAGES}, 0, {_QUARANTINED})",
            f"{_LANDED} + {_QUARANTINED}",
            20,
            f"at most 20 % of {_ENOUGH_MESSAGES} messages or more were quarantined",
            failing=_REASONS,
        ),
        share_at_most(
            "duplicate_share",
            f"(SELECT count() - uniqExact(event_id) FROM {{table}} WHERE {_BATCHES})",
            _LANDED,
            5,
            "at most 5 % of the messages repeat an event of the same tick",
            failing=_REPEATED,
            severity="warn",
        ),
    ),
)
