-- severity: error
-- A record's answer has a score below the gate of its task, or none: if a recipe's gates look at
-- the best score of any model, another answer let the incident pass.
select
    sft_records.incident_id,
    sft_records.task,
    sft_records.split,
    sft_records.line,
    sft_records.model,
    sft_records.score,
    gate_limits.least as score_min
from sft_records
inner join gate_limits
    on
        sft_records.task = gate_limits.task
        and gate_limits.dataset = 'unified'
        and gate_limits.measure = 'score'
where coalesce(sft_records.score < gate_limits.least, true)
order by sft_records.split, sft_records.line
