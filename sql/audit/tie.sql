-- severity: info
-- The model whose answer is used has the very score of the runner-up: the order of the judge's keys
-- decided between them.
with scores as (
    select
        incident_id,
        task as decided_on,
        model,
        score
    from candidates
    where place is not null and task in ('summary', 'cause')
    union all
    select
        incident_id,
        'cause and risk' as decided_on,
        model,
        sum(score) as score
    from candidates
    where place is not null and task in ('cause', 'risk')
    group by incident_id, model
    having count(*) = 2
),

chosen as (
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
),

leads as (
    select
        chosen.incident_id,
        chosen.decided_on,
        chosen.model,
        winners.score,
        max({ 'score': rivals.score, 'model': rivals.model }) as runner_up
    from chosen
    inner join scores as winners using (incident_id, decided_on, model)
    inner join scores as rivals
        on
            chosen.incident_id = rivals.incident_id
            and chosen.decided_on = rivals.decided_on
            and chosen.model <> rivals.model
    group by chosen.incident_id, chosen.decided_on, chosen.model, winners.score
)

select
    leads.incident_id,
    leads.decided_on,
    leads.model,
    leads.score,
    leads.runner_up.model as runner_up,
    leads.runner_up.score as runner_up_score,
    leads.score - leads.runner_up.score as lead
from leads
where leads.score = leads.runner_up.score
order by leads.incident_id, leads.decided_on
