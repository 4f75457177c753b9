-- candidates: one row per incident, task and model that was judged, or answered, or both.
-- Of several judge runs that judged an incident on a task, the earliest stands (rule 1).
-- `place` orders an incident's models by score, and equal scores by the model's position in the
-- judge's scores (rule 3); lengths are null where there is no answer.
with standing_runs as (
    select
        judgements.incident_id,
        judgements.task,
        arg_min(judge_runs.judge_run, judge_runs.precedence) as judge_run
    from judgements
    inner join judge_runs
        on
            judgements.judge_run = judge_runs.judge_run
            and judgements.task = judge_runs.task
    group by judgements.incident_id, judgements.task
),

judged as (
    select
        judgements.incident_id,
        judgements.task,
        judgements.model,
        judgements.judge_run,
        judgements.row,
        judgements.score,
        judgements.rank,
        row_number() over (
            partition by judgements.incident_id, judgements.task
            order by judgements.score desc, judgements.position asc
        ) as place
    from judgements
    inner join standing_runs
        on
            judgements.incident_id = standing_runs.incident_id
            and judgements.task = standing_runs.task
            and judgements.judge_run = standing_runs.judge_run
),

answered as (
    select
        incident_id,
        task,
        model,
        tokens,
        words,
        chars // 4 as chars4,
        risk_level
    from responses
),

candidates as (
    select
        incident_id,
        task,
        model,
        judged.judge_run,
        judged.row,
        judged.score,
        judged.rank,
        judged.place,
        answered.model is not null as answered,
        answered.tokens,
        answered.words,
        answered.chars4,
        answered.risk_level
    from judged
    full outer join answered using (incident_id, task, model)
)

select * from candidates
order by incident_id, task, place nulls last, model
