-- best_responses: one row per pool incident and task: the winner (rule 3), its own score on the
-- task, and by how much it led its runner-up where it was chosen. The cause winner gives the risk
-- answer too, so a risk row's lead and runner-up are those of the cause.
with chosen as (
    select
        candidates.incident_id,
        candidates.task as chosen_on,
        max(candidates.model) filter (where candidates.place = 1) as model,
        max(candidates.score) filter (where candidates.place = 1) as score,
        max(candidates.model) filter (where candidates.place = 2) as runner_up,
        max(candidates.score) filter (where candidates.place = 2) as runner_up_score
    from candidates
    inner join pool on candidates.incident_id = pool.incident_id
    where candidates.task in ('summary', 'cause')
    group by candidates.incident_id, candidates.task
),

by_task as (
    select
        *,
        chosen_on as task
    from chosen
    union all
    select
        *,
        'risk' as task
    from chosen
    where chosen_on = 'cause'
),

best_responses as (
    select
        by_task.incident_id,
        by_task.task,
        by_task.model,
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
