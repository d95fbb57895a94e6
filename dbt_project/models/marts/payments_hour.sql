with payments as (
    -- Required by the contract: were one NULL, the cast would fail the build rather than make it an empty one.
    select event_hour as hour_at, cast(currency as String) as currency, status, cast(amount as Decimal(38, 4)) as paid
    from {{ ref('int_payments') }}
    where {{ in_windows('event_hour') }}
)

select
    hour_at,
    currency,
    status,
    count() as payments,
    {{ exact_sum('paid', 'Decimal(38, 4)', wide='Decimal(76, 4)') }} as amount
from payments
group by hour_at, currency, status
