{{ without_duplicates(ref('stg_github_events')) }}
