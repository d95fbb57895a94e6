{#- Who acted, as one number: the account's id, or below zero a hash of its login where older years recorded no id, so that
    the two never meet. NULL where an event names nobody: such events count as events, never as an actor. One person who
    acted both with and without an id counts as two. -#}
{% macro actor_key(id='actor_id', login='actor_login') -%}
  coalesce({{ id }}, if(coalesce({{ login }}, '') = '', NULL, -toInt64(bitShiftRight(sipHash64({{ login }}), 1)) - 1))
{%- endmacro %}

{#- Duplicates of the source removed within an event hour; the one that Kafka had first stays.
    The hour is a key of LIMIT BY, so a filter on `event_hour` reaches the table below it and prunes its key (checked by
    tests/integration/dbt); a filter on `event_at` would not, and every minute would read all of history. -#}
{% macro without_duplicates(relation) -%}
  select *
  from {{ relation }}
  order by _kafka_timestamp, _topic_id, _partition, _offset
  limit 1 by event_hour, event_id
{%- endmacro %}
