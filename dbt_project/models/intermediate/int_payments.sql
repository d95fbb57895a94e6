{{ without_duplicates(ref('stg_payments')) }}
