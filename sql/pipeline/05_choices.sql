-- choices: one row per pool incident and task that has a choice: the model whose answer is used.
-- Summary and cause have one; so has risk if it has a winner of its own (rule 12), otherwise the
-- model chosen for the cause provides the risk answer. It is the winner (rule 3); if the recipe's
-- gates look at the winner, the next best model that passes them all replaces one that does not
-- (rule 13). `passed_over` lists the models that were replaced, best first, each with the first
-- reason; if all of them failed, the winner is chosen nevertheless, and its incident fails a gate.
with failures as (
    select
        candidates.incident_id,
        candidates.task,
        candidates.model,
        candidates.place,
        case
            when candidates.refused_by is not null
                then format('{} refused by {}', candidates.task, candidates.refused_by)
            when not candidates.answered then 'no ' || candidates.task
            when
                candidates.score < case candidates.task
                    when 'summary' then settings.summary_score_min
                    when 'cause' then settings.cause_total_min
                    when 'risk' then settings.risk_total_min
                end
                then format('{} scores {:g}', candidates.task, candidates.score)
            when candidates.miss > 0
                then format('{} has length {}', candidates.task, candidates.length)
            when
                candidates.task = 'risk'
                and candidates.risk_level is null
                and settings.risk_level_required
                then 'risk names no level'
        end as failure
    from candidates
    cross join settings
    where candidates.place is not null
),

offers as (
    select failures.*
    from failures
    cross join settings
    where failures.task = 'summary' or settings.choice_risk = 'own'
    union all
    select
        causes.incident_id,
        causes.task,
        causes.model,
        causes.place,
        coalesce(
            causes.failure, if(risks.model is null, 'risk was not judged', risks.failure)
        ) as failure
    from failures as causes
    left join failures as risks
        on
            causes.incident_id = risks.incident_id
            and causes.model = risks.model
            and risks.task = 'risk'
    cross join settings
    where causes.task = 'cause' and settings.choice_risk = 'cause_winner'
),

choices as (
    select
        offers.incident_id,
        offers.task,
        arg_min(
            { 'model': offers.model, 'place': offers.place, 'failure': offers.failure },
            {
                'fails': settings.gates_look_at = 'winner' and offers.failure is not null,
                'place': offers.place
            }
        ) as chosen,
        arg_min(offers.model, offers.place) as winner,
        list(
            { 'model': offers.model, 'place': offers.place, 'failure': offers.failure }
            order by offers.place
        ) filter (where offers.failure is not null) as failed
    from offers
    inner join pool on offers.incident_id = pool.incident_id
    cross join settings
    group by offers.incident_id, offers.task
)

select
    choices.incident_id,
    choices.task,
    choices.chosen.model,
    choices.winner,
    [
        { 'model': one.model, 'failure': one.failure }
        for one in coalesce(choices.failed, [])
        if one.place < choices.chosen.place or choices.chosen.failure is not null
    ] as passed_over
from choices
order by choices.incident_id, choices.task
