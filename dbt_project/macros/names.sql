{#- Where relations live. In the worker's targets the folder decides (`intermediate`, `marts`); a lane's candidate database
    is chosen when a mart is built, by the materialization, because names of relations are baked into the manifest and one
    manifest serves both lanes. In a person's own target everything is in the one database of that person. -#}

{% macro generate_schema_name(custom_schema_name, node) -%}
  {%- if target.name in ('worker', 'platform') and custom_schema_name is not none -%}
    {{ custom_schema_name | trim }}
  {%- else -%}
    {{ target.schema }}
  {%- endif -%}
{%- endmacro %}

{#- The lane this run builds (`minute`, `backfill`), or none in a person's own build. -#}
{% macro lockgate_lane() -%}
  {%- set build = var('lockgate', none) -%}
  {{ return(build.lane if build else none) }}
{%- endmacro %}

{#- A mart's candidate of the lane that is being built. -#}
{% macro lockgate_candidate(mart) -%}
  {{ return(api.Relation.create(schema='candidate_' ~ lockgate_lane(), identifier=mart, type='table')) }}
{%- endmacro %}

{#- A mart as people see it now. -#}
{% macro lockgate_published(mart) -%}
  {{ return(api.Relation.create(schema='marts', identifier=mart, type='table')) }}
{%- endmacro %}
