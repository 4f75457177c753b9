-- severity: info
-- reads: cleaned, made by immune_data/select/cleaning.py
-- Two thirds or more of a split's risk answers name the same level, so a model that always names it
-- is right in that share of them.
with levels as (
    select
        sft_records.split,
        coalesce(cleaned.risk_level, responses.risk_level) as level
    from sft_records
    inner join responses
        on
            sft_records.incident_id = responses.incident_id
            and sft_records.task = responses.task
            and sft_records.model = responses.model
    left join cleaned
        on
            sft_records.incident_id = cleaned.incident_id
            and sft_records.task = cleaned.task
            and sft_records.model = cleaned.model
    where sft_records.task = 'risk'
),

counted as (
    select
        split,
        level,
        count(*) as records
    from levels
    group by split, level
),

shares as (
    select
        split,
        level,
        records,
        records / sum(records) over (partition by split) as share
    from counted
)

select
    split,
    level,
    records,
    round(share, 4) as share
from shares
where level is not null and share >= 2 / 3
order by split
