{#- Which part of time a model has to build.

    in_windows('event_hour')                      rows that lie in the windows of the model this stands in
    in_windows('event_hour', days_before=6)       and those of up to six days before each window
    in_windows('first_seen_at', mart='other')     the windows of another mart of the same build

    Renders `1` where the run names no lane: a person's own build makes whole tables. In a lane, a mart without windows is
    an error: building everything by mistake would double the clean windows that are already in the candidate. -#}

{% macro in_windows(column, days_before=0, mart=none) -%}
  {%- set windows = lockgate_windows(mart or model.name) -%}
  {%- if windows is none -%}
    1
  {%- elif windows | length == 0 -%}
    0
  {%- else -%}
    (
    {%- for from, to in windows %}
      {{ 'or ' if not loop.first }}({{ column }} >= {{ lockgate_instant(from) }}
      {%- if days_before %} - toIntervalDay({{ days_before }}){% endif %} and {{ column }} < {{ lockgate_instant(to) }})
    {%- endfor %}
    )
  {%- endif -%}
{%- endmacro %}

{#- A list of [from, to] (UTC, half open), or none where everything is built. -#}
{% macro lockgate_windows(mart) -%}
  {%- set build = var('lockgate', none) -%}
  {%- if not build -%}
    {{ return(none) }}
  {%- elif mart not in build.windows -%}
    {{ exceptions.raise_compiler_error("the build of lane '" ~ build.lane ~ "' names no windows for '" ~ mart ~ "'") }}
  {%- endif -%}
  {{ return(build.windows[mart]) }}
{%- endmacro %}

{#- Whether this run builds windows of `mart` too, so that its candidate is fresher than what is published. -#}
{% macro lockgate_builds(mart) -%}
  {%- set build = var('lockgate', none) -%}
  {{ return(build is not none and (build.windows[mart] | default([]) | length) > 0) }}
{%- endmacro %}

{#- 64 bits wide, because the end of `from_then_on` may lie beyond 2106, where DateTime ends. -#}
{% macro lockgate_instant(text) -%}
  toDateTime64('{{ text }}', 0, 'UTC')
{%- endmacro %}
