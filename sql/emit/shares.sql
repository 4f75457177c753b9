-- shares: one row per property of a record, split and value: how many records, and their tokens.
-- reads: conversations, made by immune_data/emit/records.py
with shares as (
    select
        'task' as property,
        split,
        task as value,
        tokens
    from conversations
    union all
    select
        'model' as property,
        split,
        model as value,
        tokens
    from conversations
    union all
    select
        'origin' as property,
        split,
        origin as value,
        tokens
    from conversations
)

select
    property,
    split,
    value,
    count(*) as records,
    sum(tokens)::bigint as tokens
from shares
group by property, split, value
order by property, split, value
