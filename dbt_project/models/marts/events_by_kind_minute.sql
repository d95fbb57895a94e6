select
    toStartOfMinute(event_at) as minute_at,
    kind,
    count() as events,
    uniqExact(actor_key) as actors
from {{ ref('int_github_events') }}
where {{ in_windows('event_hour') }}
group by minute_at, kind
