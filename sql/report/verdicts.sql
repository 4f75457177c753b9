-- verdicts: one row per task, judge run and incident: the answers in the order of the judge's
-- scores, with their lengths, and those of each call in the order shown.
with answers as (
    select
        judgements.task,
        judgements.judge_run,
        judgements.incident_id,
        list(
            {
                'model': judgements.model,
                'score': judgements.score,
                'chars': coalesce(responses.chars, 0)
            }
            order by judgements.position
        ) as answers
    from judgements
    left join responses using (incident_id, task, model)
    group by judgements.task, judgements.judge_run, judgements.incident_id
),

calls as (
    select
        task,
        judge_run,
        incident_id,
        call,
        list({ 'model': model, 'score': score } order by position) as answers
    from judge_calls
    group by task, judge_run, incident_id, call
),

of_incidents as (
    select
        task,
        judge_run,
        incident_id,
        list(answers order by call) as calls
    from calls
    group by task, judge_run, incident_id
)

select
    judge_runs.task,
    judge_runs.judge_run,
    judge_runs.judge,
    answers.incident_id,
    answers.answers,
    coalesce(of_incidents.calls, []) as calls
from answers
inner join judge_runs using (task, judge_run)
left join of_incidents using (task, judge_run, incident_id)
order by
    list_position(['summary', 'cause', 'risk'], judge_runs.task),
    judge_runs.precedence,
    answers.incident_id
