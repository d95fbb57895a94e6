select
    event_hour as hour_at,
    count() as pushes,
    countIf(push_commits is null) as pushes_without_size,
    countIf(push_distinct_commits is null) as pushes_without_distinct_size,
    {{ exact_sum('push_commits') }} as commits,
    {{ exact_sum('push_distinct_commits') }} as distinct_commits,
    quantileExact(0.5)(push_commits) as p50_commits,
    quantileExact(0.9)(push_commits) as p90_commits,
    quantileExact(0.99)(push_commits) as p99_commits,
    max(push_commits) as max_commits
from {{ ref('int_github_events') }}
where {{ in_windows('event_hour') }} and kind = 'PushEvent'
group by hour_at
