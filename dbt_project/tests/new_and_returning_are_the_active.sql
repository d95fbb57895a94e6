-- Everyone active on a day is either new or returning; rows are days where the two marts disagree.
select day_at, sum(active) as active_actors, sum(split) as new_and_returning
from (
    select day_at, active_actors as active, 0 as split from {{ ref('active_actors_daily') }}
    union all
    select day_at, 0 as active, new_actors + returning_actors as split from {{ ref('new_actors_daily') }}
)
group by day_at
having active_actors != new_and_returning
