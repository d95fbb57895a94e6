-- Renamed and lightly typed; logins stop here (`actor_key` stands for them), and so do the event's bytes and its rest, which
-- hold them too. Duplicates of the source are still in.
select
    event_id,
    event_at,
    toStartOfHour(event_at) as event_hour,
    event_kind as kind,
    {{ actor_key() }} as actor_key,
    repo_id,
    repo_name,
    org_id,
    action,
    ref_type,
    push_size_commits as push_commits,
    push_distinct_size_commits as push_distinct_commits,
    _topic_id,
    _partition,
    _offset,
    _kafka_timestamp,
    _landed_at
from {{ source('staging', 'github_events') }}
