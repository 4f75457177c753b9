-- severity: info
-- reads: cleaned, made by immune_data/select/cleaning.py
-- bound: 0.2
-- A value has more than its share of the train records: its share exceeds an equal share, that is 1
-- divided by the number of values that occur (at least 2), by more than the bound.
with train as (
    select
        sft_records.incident_id,
        sft_records.task,
        sft_records.model,
        sft_records.score,
        incidents.category,
        incidents.source_ip,
        coalesce(cleaned.risk_level, responses.risk_level) as risk_level
    from sft_records
    inner join incidents on sft_records.incident_id = incidents.incident_id
    left join responses
        on
            sft_records.incident_id = responses.incident_id
            and sft_records.task = responses.task
            and sft_records.model = responses.model
    left join cleaned
        on
            sft_records.incident_id = cleaned.incident_id
            and sft_records.task = cleaned.task
            and sft_records.model = cleaned.model
    where sft_records.split = 'train'
),

valued as (
    select
        'category' as dimension,
        category as value
    from train
    union all
    select
        'task' as dimension,
        task as value
    from train
    union all
    select
        'model' as dimension,
        model as value
    from train
    union all
    select
        'source IP' as dimension,
        source_ip as value
    from train
    union all
    select
        'severity' as dimension,
        risk_level as value
    from train
    where task = 'risk'
    union all
    select
        task || ' score' as dimension,
        score::varchar as value
    from train
),

counted as (
    select
        dimension,
        value,
        count(*) as records
    from valued
    group by dimension, value
),

shares as (
    select
        dimension,
        value,
        records,
        records / sum(records) over (partition by dimension) as share,
        1 / greatest(2, count(*) over (partition by dimension)) as equal_share
    from counted
)

select
    dimension,
    value,
    records,
    round(share, 4) as share,
    round(equal_share, 4) as equal_share
from shares
where share - equal_share > 0.2
order by dimension, value
