with delays as (
    select
        toStartOfMinute(event_at) as minute_at,
        dateDiff('millisecond', _kafka_timestamp, _landed_at) / 1000 as delay_seconds
    from {{ ref('int_github_events') }}
    where {{ in_windows('event_hour') }}
)

select
    minute_at,
    count() as events,
    quantileExact(0.5)(delay_seconds) as p50_seconds,
    quantileExact(0.99)(delay_seconds) as p99_seconds,
    max(delay_seconds) as max_seconds
from delays
group by minute_at
