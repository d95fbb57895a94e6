{#- A sum that is right or an error: added up in 256 bits, which no number of rows fills, and refused where the mart's type
    does not hold it. The engine's own sum of an Int64 wraps in silence: three times 2^63-1 is negative. -#}
{% macro exact_sum(value, type='Int64', wide='Int256') -%}
  accurateCast(coalesce(sum(cast({{ value }} as Nullable({{ wide }}))), 0), '{{ type }}')
{%- endmacro %}
