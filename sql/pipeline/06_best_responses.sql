-- best_responses: one row per pool incident and task: the model whose answer is used, its own score
-- on the task, the best of the others, and by how much it led that one on the score it was chosen
-- by (less than nothing where a better one was passed over). The model chosen on the cause gives
-- the risk answer too, so a risk row's runner-up and lead are those of the cause.
with rivals as (
    select
        choices.incident_id,
        choices.task as chosen_on,
        choices.model,
        choices.winner,
        max(candidates.score) filter (where candidates.model = choices.model) as score,
        arg_min(candidates.model, candidates.place)
        filter (where candidates.model <> choices.model) as runner_up,
        arg_min(candidates.score, candidates.place)
        filter (where candidates.model <> choices.model) as runner_up_score
    from choices
    inner join candidates
        on
            choices.incident_id = candidates.incident_id
            and choices.task = candidates.task
            and candidates.place is not null
    group by choices.incident_id, choices.task, choices.model, choices.winner
),

by_task as (
    select
        *,
        chosen_on as task
    from rivals
    union all
    select
        *,
        'risk' as task
    from rivals
    where chosen_on = 'cause'
),

best_responses as (
    select
        by_task.incident_id,
        by_task.task,
        by_task.model,
        by_task.winner,
        candidates.score,
        by_task.runner_up,
        by_task.score - by_task.runner_up_score as lead,
        coalesce(candidates.answered, false) as answered
    from by_task
    left join candidates
        on
            by_task.incident_id = candidates.incident_id
            and by_task.task = candidates.task
            and by_task.model = candidates.model
)

select * from best_responses
order by incident_id, task
