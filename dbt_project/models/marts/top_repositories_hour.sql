with counted as (
    select
        event_hour as hour_at,
        assumeNotNull(repo_id) as repository_id,
        coalesce(argMax(repo_name, (event_at, event_id)), '') as latest_name,
        count() as events,
        uniqExact(actor_key) as actors
    from {{ ref('int_github_events') }}
    where {{ in_windows('event_hour') }} and repo_id is not null
    group by hour_at, repository_id
)

select
    hour_at,
    row_number() over (partition by hour_at order by events desc, repository_id) as rank,
    repository_id as repo_id,
    latest_name as repo_name,
    events,
    actors
from counted
qualify rank <= 100
