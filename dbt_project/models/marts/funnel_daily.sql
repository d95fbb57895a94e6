-- One actor and one repository make a pair; windowFunnel takes the steps in order of time, equal instants allowed.
with pairs as (
    select
        toDate(event_hour) as day_at,
        actor_key,
        repo_id,
        windowFunnel(86400000000)(
            toUInt64(toUnixTimestamp64Micro(event_at)),
            kind = 'WatchEvent',
            kind = 'ForkEvent',
            kind = 'PullRequestEvent' and ifNull(action = 'opened', false)
        ) as steps
    from {{ ref('int_github_events') }}
    where
        {{ in_windows('event_hour') }}
        and kind in ('WatchEvent', 'ForkEvent', 'PullRequestEvent')
        and actor_key is not null
        and repo_id is not null
    group by day_at, actor_key, repo_id
)

select
    day_at,
    countIf(steps >= 1) as watched,
    countIf(steps >= 2) as forked_after_watching,
    countIf(steps >= 3) as opened_pull_request_after_forking
from pairs
group by day_at
