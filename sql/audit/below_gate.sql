-- severity: error
-- A record's answer has a score below the gate of its task, or none: where a recipe's gates look at
-- the best of any model, another answer let the incident pass.
with limits as (
    select
        unnest([
            { 'task': 'summary', 'least': summary_score_min },
            { 'task': 'cause', 'least': cause_total_min },
            { 'task': 'risk', 'least': risk_total_min }
        ]) as gate
    from settings
)

select
    sft_records.incident_id,
    sft_records.task,
    sft_records.split,
    sft_records.line,
    sft_records.model,
    sft_records.score,
    limits.gate.least as score_min
from sft_records
inner join limits on sft_records.task = limits.gate.task
where coalesce(sft_records.score < limits.gate.least, true)
order by sft_records.split, sft_records.line
