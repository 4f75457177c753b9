-- calls: one row per task, judge run and call: the models in the order shown, with their scores.
select
    judge_calls.task,
    judge_calls.judge_run,
    judge_calls.call,
    list(
        { 'model': judge_calls.model, 'score': judge_calls.score }
        order by judge_calls.position
    ) as answers
from judge_calls
where judge_calls.incident_id = getvariable('incident')
group by judge_calls.task, judge_calls.judge_run, judge_calls.call
order by
    list_position(['summary', 'cause', 'risk'], judge_calls.task),
    judge_calls.judge_run,
    judge_calls.call
