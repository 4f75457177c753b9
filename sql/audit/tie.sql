-- severity: info
-- The model whose answer is used has the same score as the runner-up: the order of the judge's keys
-- decided between them.
with used as (
    select distinct
        sft_records.incident_id,
        sft_records.model,
        case
            when sft_records.task = 'summary' then 'summary'
            when settings.choice_risk = 'own' then sft_records.task
            when sft_records.origin = 'unified' then 'cause'
            else 'cause and risk'
        end as decided_on
    from sft_records
    cross join settings
    where sft_records.task in ('summary', 'cause') or settings.choice_risk = 'own'
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
