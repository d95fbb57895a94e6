-- Events of an hour are those of its minutes, kind by kind; rows are hours where the two marts disagree.
select
    hour_at,
    kind,
    sumIf(events, grain = 'minute') as of_minutes,
    sumIf(events, grain = 'hour') as of_hours
from (
    select toStartOfHour(minute_at) as hour_at, kind, events, 'minute' as grain from {{ ref('events_by_kind_minute') }}
    union all
    select hour_at, kind, events, 'hour' as grain from {{ ref('events_by_kind_hour') }}
)
group by hour_at, kind
having of_minutes != of_hours
