{#- A mart is built into a candidate, which the platform gates and publishes; dbt never touches what people read.

    In a lane: the platform has emptied the candidate and copied the clean windows into it; this appends the dirty ones,
    in one INSERT with the columns named. In a lane without windows: the SQL is explained, so that the warehouse says whether it
    would take it. In a person's own build: the whole table, made anew. -#}
{% materialization candidate, adapter='clickhouse' %}
  {%- set in_lane = lockgate_lane() is not none -%}
  {%- set candidate = lockgate_candidate(model.name) if in_lane else this.incorporate(type='table') -%}
  {%- set columns = model.columns.values() | map(attribute='name') | map('string') | list -%}

  {{ run_hooks(pre_hooks) }}
  {%- if not in_lane -%}
    {%- call statement('create') -%} {{ lockgate_create_table(candidate, or_replace=true) }} {%- endcall -%}
  {%- endif -%}
  {%- do get_assert_columns_equivalent(sql) -%}
  {%- if in_lane and lockgate_windows(model.name) | length == 0 -%}
  {%- call statement('main') -%}
    explain select {{ columns | join(', ') }} from (
      {{ sql }}
    )
  {%- endcall -%}
  {%- else -%}
  {%- call statement('main') -%}
    insert into {{ candidate }} ({{ columns | join(', ') }})
    select {{ columns | join(', ') }} from (
      {{ sql }}
    )
    settings insert_deduplicate = 0, insert_null_as_default = 0
  {%- endcall -%}
  {%- endif -%}
  {{ run_hooks(post_hooks) }}

  {{ return({'relations': [candidate]}) }}
{% endmaterialization %}
