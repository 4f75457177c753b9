-- candidates: one row per incident, task and model that was judged, or answered, or both.
-- reads: cleaning, cleaned, made by immune_data/select/cleaning.py
-- If several judge runs judged an incident on a task, the earliest one counts (rule 1), or all of
-- them do and the score is their mean (rule 16). `place` orders an incident's models by score, and
-- equal scores by the model's position in the judge's scores (rule 3); of the models less than the
-- margin below the best one, the first by position comes before all others. `standard_error` comes
-- from the noise of the judge runs, which is estimated from the spreads of their calls. Measures
-- are those of the answer as the recipe would emit it. `length` is in the unit of the task's gate,
-- and `miss` is how far it is out of bounds; both are null without an answer.
with noises as (
    select
        judge_run,
        task,
        sqrt(sum(spread ** 2 * (calls - 1)) / sum(calls - 1)) as noise
    from judgements
    where spread is not null
    group by judge_run, task
),

verdicts as (
    select
        judgements.*,
        judge_runs.precedence,
        noises.noise ** 2 / judgements.calls as variance
    from judgements
    inner join judge_runs
        on
            judgements.judge_run = judge_runs.judge_run
            and judgements.task = judge_runs.task
    left join noises
        on
            judgements.judge_run = noises.judge_run
            and judgements.task = noises.task
),

standing_runs as (
    select
        verdicts.incident_id,
        verdicts.task,
        min(verdicts.precedence) as first_run,
        any_value(settings.judging_combine) = 'mean' as all_stand,
        all_stand and count(distinct verdicts.judge_run) > 1 as several
    from verdicts
    cross join settings
    group by verdicts.incident_id, verdicts.task
),

scored as (
    select
        verdicts.incident_id,
        verdicts.task,
        verdicts.model,
        any_value(standing_runs.several) as of_several,
        count(*) as runs,
        arg_min(verdicts.judge_run, verdicts.precedence) as judge_run,
        arg_min(verdicts.row, verdicts.precedence) as row,
        min({ 'precedence': verdicts.precedence, 'position': verdicts.position }) as position,
        -- Rounded, as means that are equal may differ in their last digits.
        if(of_several, round(avg(verdicts.score), 9), any_value(verdicts.score)) as score,
        avg(verdicts.rank) as rank,
        if(
            count(verdicts.variance) = runs,
            round(sqrt(sum(verdicts.variance)) / runs, 6),
            null
        ) as standard_error
    from verdicts
    inner join standing_runs
        on
            verdicts.incident_id = standing_runs.incident_id
            and verdicts.task = standing_runs.task
    where standing_runs.all_stand or verdicts.precedence = standing_runs.first_run
    group by verdicts.incident_id, verdicts.task, verdicts.model
),

compared as (
    select
        scored.*,
        max(scored.score) over of_task - scored.score as behind,
        behind > 0 and round(behind, 9) >= settings.judging_margin as trails
    from scored
    cross join settings
    window of_task as (partition by scored.incident_id, scored.task)
),

judged as (
    select
        incident_id,
        task,
        model,
        judge_run,
        runs,
        row,
        score,
        standard_error,
        case
            when not of_several then rank::bigint
            when rank is not null
                then row_number() over (
                    partition by incident_id, task order by rank nulls last, position
                )
        end as rank,
        row_number() over (
            partition by incident_id, task
            order by trails asc, if(trails, score, null) desc, position asc
        ) as place
    from compared
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
        judged.runs,
        judged.row,
        judged.score,
        judged.standard_error,
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
