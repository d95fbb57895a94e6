with active as (
    select distinct
        toDate(event_hour) as day_at,
        assumeNotNull(actor_key) as actor
    from {{ ref('stg_github_events') }}
    where {{ in_windows('event_hour') }} and actor_key is not null
),

first_seen as (
    select actor_key as actor, toDate(first_seen_at) as first_day
    from
{%- if lockgate_lane() and not lockgate_builds('actor_first_seen') %}
    -- Built without `actor_first_seen`, whose published rows may then lack what is being built: count from all of history.
    (
        select actor_key, min(event_at) as first_seen_at
        from {{ ref('stg_github_events') }}
        where actor_key is not null
        group by actor_key
    )
{%- else %}
    {{ as_built('actor_first_seen', ['actor_key', 'first_seen_at']) }}
{%- endif %}
)

select
    day_at,
    countIf(first_day = day_at) as new_actors,
    countIf(first_day < day_at) as returning_actors
from active
inner join first_seen on active.actor = first_seen.actor
group by day_at
