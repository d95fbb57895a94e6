-- Renamed and lightly typed; the payer's address stops here, and so do the event's bytes and its rest, which hold it too.
-- Duplicates of the source are still in.
select
    event_id,
    event_at,
    toStartOfHour(event_at) as event_hour,
    event_kind as status,
    amount,
    currency,
    recurring,
    _topic_id,
    _partition,
    _offset,
    _kafka_timestamp,
    _landed_at
from {{ source('staging', 'payments') }}
