select
    event_hour as hour_at,
    kind,
    count() as events,
    uniqExact(actor_key) as actors
from {{ ref('int_github_events') }}
where {{ in_windows('event_hour') }}
group by hour_at, kind
