-- severity: info
-- The model whose answer is used leads by one point or less, which is within a judge's mood.
with used as (
    select distinct
        incident_id,
        model,
        case
            when task = 'summary' then 'summary'
            when origin = 'unified' then 'cause'
            else 'cause and risk'
        end as decided_on
    from sft_records
    where task in ('summary', 'cause')
)

select
    leads.incident_id,
    leads.decided_on,
    leads.model,
    leads.score,
    leads.runner_up,
    leads.runner_up_score,
    leads.lead
from leads
semi join used using (incident_id, decided_on, model)
where leads.lead > 0 and leads.lead <= 1
order by leads.incident_id, leads.decided_on, leads.model
