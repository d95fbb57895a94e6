{#- `expression` is true for every row (NULL counts as not true). -#}
{% test holds(model, expression, column_name=none) %}
select *
from {{ model }}
where not ifNull({{ expression }}, false)
{% endtest %}
