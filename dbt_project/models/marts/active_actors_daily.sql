-- Duplicates do not change who was active, so this reads below their removal: seven days need no sorting.
with active as (
    select distinct
        toDate(event_hour) as active_day,
        assumeNotNull(actor_key) as actor
    from {{ ref('stg_github_events') }}
    where {{ in_windows('event_hour', days_before=6) }} and actor_key is not null
)

select
    day_at,
    uniqExactIf(actor, active_day = day_at) as active_actors,
    uniqExact(actor) as weekly_active_actors
from active
array join arrayMap(days -> active_day + toIntervalDay(days), range(7)) as day_at
where {{ in_windows('day_at') }}
group by day_at
having active_actors > 0
