-- candidates: one row per incident, task and model that was judged, or answered, or both.
-- reads: cleaning, cleaned, made by immune_data/select/cleaning.py
-- Of several judge runs that judged an incident on a task, the earliest stands (rule 1).
-- `place` orders an incident's models by score, and equal scores by the model's position in the
-- judge's scores (rule 3). Measures are those of the answer as the recipe would emit it. `length`
-- is in the unit of the task's gate, and `miss` how far it is out of bounds; both are null where
-- there is no answer.
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

refusals as (
    select
        incident_id,
        task,
        model,
        rule as refused_by
    from cleaning
    where effect = 'refused'
),

as_emitted as (
    select
        responses.incident_id,
        responses.task,
        responses.model,
        refusals.refused_by,
        coalesce(cleaned.tokens, responses.tokens) as tokens,
        coalesce(cleaned.words, responses.words) as words,
        coalesce(cleaned.chars, responses.chars) // 4 as chars4,
        if(cleaned.model is null, responses.risk_level, cleaned.risk_level) as risk_level
    from responses
    left join cleaned using (incident_id, task, model)
    left join refusals using (incident_id, task, model)
),

answered as (
    select
        as_emitted.*,
        case gate_limits.unit
            when 'chars4' then as_emitted.chars4
            when 'words' then as_emitted.words
            when 'tokens' then as_emitted.tokens
        end as length,
        greatest(gate_limits.least::bigint - length, length - gate_limits.most, 0) as miss
    from as_emitted
    inner join gate_limits
        on
            as_emitted.task = gate_limits.task
            and gate_limits.dataset = 'unified'
            and gate_limits.measure = 'length'
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
        answered.model is not null and answered.refused_by is null as answered,
        answered.refused_by,
        answered.tokens,
        answered.words,
        answered.chars4,
        answered.risk_level,
        answered.length,
        answered.miss
    from judged
    full outer join answered using (incident_id, task, model)
)

select * from candidates
order by incident_id, task, place nulls last, model
