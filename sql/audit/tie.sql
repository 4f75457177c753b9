-- severity: info
-- The model whose answer is used has the very score of the runner-up: the order of the judge's keys
-- decided between them.
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
where leads.lead = 0
order by leads.incident_id, leads.decided_on, leads.model
