-- best_responses: one row per pool incident and task: the model whose answer is used, its own score
-- on the task, the best of the others, and its lead over that one on the score it was chosen by
-- (negative if a better model was passed over). Unless risk has a winner of its own, the model
-- chosen for the cause provides the risk answer too, and a risk row's runner-up and lead are those
-- of the cause. `standard_error` and `within_noise` are those of the lead.
with chosen as (
    select
        choices.incident_id,
        tasks.task,
        choices.model,
        choices.winner,
        leads.runner_up,
        leads.lead,
        leads.standard_error,
        leads.within_noise
    from choices
    inner join leads
        on
            choices.incident_id = leads.incident_id
            and choices.task = leads.decided_on
            and choices.model = leads.model
    cross join settings
    cross join unnest(
        if(
            choices.task = 'cause' and settings.choice_risk = 'cause_winner',
            ['cause', 'risk'],
            [choices.task]
        )
    ) as tasks (task)
),

best_responses as (
    select
        chosen.incident_id,
        chosen.task,
        chosen.model,
        chosen.winner,
        candidates.score,
        chosen.runner_up,
        chosen.lead,
        chosen.standard_error,
        chosen.within_noise,
        coalesce(candidates.answered, false) as answered
    from chosen
    left join candidates
        on
            chosen.incident_id = candidates.incident_id
            and chosen.task = candidates.task
            and chosen.model = candidates.model
)

select * from best_responses
order by incident_id, task
