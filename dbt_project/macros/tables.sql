{#- The shape of marts: the only place that turns a model's contract and its `meta.lockgate` into a table. -#}

{#- The model or source of a mart by its name, or none while dbt still parses. -#}
{% macro lockgate_node(mart) -%}
  {%- for node in (graph.nodes.values() | list) + (graph.sources.values() | list) if execute -%}
    {%- if node.name == mart and lockgate_meta(node) -%}
      {{ return(node) }}
    {%- endif -%}
  {%- endfor -%}
  {{ return(none) }}
{%- endmacro %}

{#- What a mart says of itself under `meta.lockgate`, or none for anything that is no mart. -#}
{% macro lockgate_meta(node) -%}
  {{ return((node.config.meta or {}).get('lockgate') if node and node.config else none) }}
{%- endmacro %}

{% macro lockgate_partition_by(meta) -%}
  {%- if meta.partition == 'day' -%} toYYYYMMDD({{ meta.time_column }})
  {%- elif meta.partition == 'month' -%} toYYYYMM({{ meta.time_column }})
  {%- elif meta.partition == 'table' -%} tuple()
  {%- else -%} {{ exceptions.raise_compiler_error("meta.lockgate.partition is '" ~ meta.partition ~ "': day, month or table") }}
  {%- endif -%}
{%- endmacro %}

{#- CREATE TABLE for the mart `node` (default: the model this stands in) under the name `relation`. -#}
{% macro lockgate_create_table(relation, node=model, or_replace=false) -%}
  {%- set meta = lockgate_meta(node) -%}
  create {% if or_replace %}or replace table{% else %}table if not exists{% endif %} {{ relation }} (
    {%- for column in node.columns.values() %}
    {{ adapter.quote(column.name) }} {{ column.data_type }} comment {{ lockgate_literal(column.description) }}{{ ',' if not loop.last }}
    {%- endfor %}
  )
  engine = {{ var('mart_engine', 'MergeTree') }}
  partition by {{ lockgate_partition_by(meta) }}
  order by ({{ meta.order_by | join(', ') }})
  comment {{ lockgate_literal(node.description) }}
{%- endmacro %}

{% macro lockgate_literal(text) -%}
  '{{ (text or '') | replace('\\', '\\\\') | replace("'", "\\'") | replace('\n', ' ') | trim }}'
{%- endmacro %}

{#- Every database and every mart that is missing. Run by the worker when it starts, as the platform's user; a table that
    exists is left as it is, whatever its columns: the worker reports the difference, a person decides. `only`: one mart. -#}
{% macro create_marts(only=none) -%}
  {%- for database in ['marts', 'intermediate', 'candidate_minute', 'candidate_backfill'] -%}
    {%- do run_query('create database if not exists ' ~ database) -%}
  {%- endfor -%}
  {%- for node in (graph.nodes.values() | list) + (graph.sources.values() | list) -%}
    {%- if lockgate_meta(node) and only in (none, node.name) -%}
      {%- do run_query(lockgate_create_table(lockgate_published(node.name), node)) -%}
    {%- endif -%}
  {%- endfor -%}
{%- endmacro %}
