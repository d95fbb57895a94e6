{#- Another mart as it will be once this build is published: its candidate within the windows that are being rebuilt, what
    is published outside of them. Reading only what is published would be a tick behind, and the mart that read it would
    never be told. Columns are named by the caller, so that both halves agree. -#}
{% macro as_built(mart, columns) -%}
  {%- set relation = ref(mart) -%}
  {%- if lockgate_builds(mart) -%}
    {%- set time_column = lockgate_meta(lockgate_node(mart)).time_column -%}
    (
      select {{ columns | join(', ') }} from {{ lockgate_candidate(mart) }} where {{ in_windows(time_column, mart=mart) }}
      union all
      select {{ columns | join(', ') }} from {{ lockgate_published(mart) }} where not {{ in_windows(time_column, mart=mart) }}
    )
  {%- else -%}
    {{ relation }}
  {%- endif -%}
{%- endmacro %}
