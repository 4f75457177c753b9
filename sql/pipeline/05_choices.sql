-- choices: one row per pool incident and task that decides: the model chosen for the summary, and
-- the one chosen on the cause, whose risk answer comes along. It is the winner (rule 3); where the
-- recipe's gates look at the winner, the next best that passes stands in for one that does not.
with offers as (
    select
        candidates.incident_id,
        candidates.task,
        candidates.model,
        candidates.place,
        candidates.answered
        and candidates.miss = 0
        and candidates.score >= settings.summary_score_min as passes
    from candidates
    cross join settings
    where candidates.task = 'summary' and candidates.place is not null
    union all
    select
        causes.incident_id,
        causes.task,
        causes.model,
        causes.place,
        causes.answered
        and causes.miss = 0
        and causes.score >= settings.cause_total_min
        and coalesce(
            risks.answered and risks.miss = 0 and risks.score >= settings.risk_total_min, false
        )
        and (risks.risk_level is not null or not settings.risk_level_required) as passes
    from candidates as causes
    left join candidates as risks
        on
            causes.incident_id = risks.incident_id
            and causes.model = risks.model
            and risks.task = 'risk'
    cross join settings
    where causes.task = 'cause' and causes.place is not null
),

choices as (
    select
        offers.incident_id,
        offers.task,
        arg_min(
            offers.model,
            {
                'passed_over': settings.gates_look_at = 'winner' and not offers.passes,
                'place': offers.place
            }
        ) as model,
        arg_min(offers.model, offers.place) as winner
    from offers
    inner join pool on offers.incident_id = pool.incident_id
    cross join settings
    group by offers.incident_id, offers.task
)

select * from choices
order by incident_id, task
