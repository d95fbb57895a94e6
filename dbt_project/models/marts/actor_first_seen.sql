-- Whoever was published as seen before these windows keeps that row; everyone else is seen first within them.
select
    assumeNotNull(actor_key) as actor_key,
    min(event_at) as first_seen_at
from {{ ref('stg_github_events') }} as events
where {{ in_windows('event_hour') }} and events.actor_key is not null
{%- if lockgate_lane() %}
    and events.actor_key not in (
        select actor_key from {{ lockgate_published('actor_first_seen') }} where not {{ in_windows('first_seen_at') }}
    )
{%- endif %}
group by actor_key
