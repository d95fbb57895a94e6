-- Renamed and lightly typed; the payer's address stops here. Duplicates of the source are still in.
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
    _landed_at,
    _extra
from {{ source('staging', 'payments') }}
