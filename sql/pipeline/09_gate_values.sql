-- gate_values: one row per incident and gate of a dataset: the value, and whether it passes.
-- `number` is a score or a length, `word` the level named or the cleaning rule that refuses. In the
-- unified dataset they are those of any model's answers, or of the chosen ones, as the recipe says:
-- the best score, the length closest to the bounds, the gravest level; `used_…` are those of the
-- answer that is used, since another one may have passed instead. The standalone dataset has such
-- rows for each `model` that may win: the one that the judge ranks first; or any with a rank, if
-- the recipe's gates look at the winner; or any that was judged, if risk has a winner of its own;
-- `model` is null if there is none.
with looked_at as (
    select
        candidates.*,
        list_position(['Critical', 'High', 'Medium', 'Low'], candidates.risk_level) as gravity
    from candidates
    cross join settings
    inner join choices
        on
            candidates.incident_id = choices.incident_id
            and choices.task = if(
                candidates.task = 'risk' and settings.choice_risk = 'cause_winner',
                'cause',
                candidates.task
            )
    where settings.gates_look_at = 'any' or candidates.model = choices.model
),

by_task as (
    select
        incident_id,
        task,
        max(score) as score,
        min({ 'miss': miss, 'length': length }) filter (where length is not null).length as length,
        ['Critical', 'High', 'Medium', 'Low'][min(gravity)] as risk_level,
        min(refused_by) as refused_by
    from looked_at
    group by incident_id, task
),

used as (
    select candidates.*
    from best_responses
    inner join candidates using (incident_id, task, model)
),

offers as (
    select distinct
        risk_pool.incident_id,
        judged.model
    from risk_pool
    cross join settings
    left join candidates as judged
        on
            risk_pool.incident_id = judged.incident_id
            and case
                when settings.choice_risk = 'own'
                    then judged.task in ('cause', 'risk') and judged.place is not null
                when settings.gates_look_at = 'winner'
                    then judged.task = 'cause' and judged.rank is not null
                else judged.task = 'cause' and judged.rank = 1
            end
),

measured as (
    select
        gate_limits.dataset,
        pool.incident_id,
        null as model,
        gate_limits.gate,
        false as of_used,
        by_task.score,
        by_task.length,
        by_task.risk_level,
        by_task.refused_by
    from pool
    inner join gate_limits on gate_limits.dataset = 'unified'
    left join by_task
        on
            pool.incident_id = by_task.incident_id
            and gate_limits.task = by_task.task
    union all
    select
        gate_limits.dataset,
        pool.incident_id,
        null as model,
        gate_limits.gate,
        true as of_used,
        used.score,
        used.length,
        used.risk_level,
        used.refused_by
    from pool
    inner join gate_limits on gate_limits.dataset = 'unified'
    left join used
        on
            pool.incident_id = used.incident_id
            and gate_limits.task = used.task
    union all
    select
        gate_limits.dataset,
        offers.incident_id,
        offers.model,
        gate_limits.gate,
        readings.of_used,
        answers.score,
        case gate_limits.unit
            when 'chars4' then answers.chars4
            when 'words' then answers.words
            when 'tokens' then answers.tokens
        end as length,
        answers.risk_level,
        answers.refused_by
    from offers
    inner join gate_limits on gate_limits.dataset = 'standalone'
    cross join unnest([false, true]) as readings (of_used)
    left join candidates as answers
        on
            offers.incident_id = answers.incident_id
            and offers.model = answers.model
            and gate_limits.task = answers.task
),

read as (
    select
        measured.dataset,
        measured.incident_id,
        measured.model,
        gate_limits.place,
        measured.gate,
        gate_limits.threshold,
        gate_limits.required,
        measured.of_used,
        case gate_limits.measure
            when 'score' then measured.score
            when 'length' then measured.length
        end as number,
        case gate_limits.measure
            when 'cleaning' then measured.refused_by
            when 'level' then measured.risk_level
        end as word,
        coalesce(
            case gate_limits.measure
                when 'score' then number >= gate_limits.least
                when 'cleaning' then word is null
                when 'length' then number between gate_limits.least and gate_limits.most
                when 'level' then word is not null
            end,
            false
        )
        or not gate_limits.required as passed
    from measured
    inner join gate_limits
        on
            measured.dataset = gate_limits.dataset
            and measured.gate = gate_limits.gate
)

select
    dataset,
    incident_id,
    model,
    place,
    gate,
    threshold,
    required,
    any_value(number) filter (where not of_used) as number,
    any_value(word) filter (where not of_used) as word,
    bool_and(passed) filter (where not of_used) as passed,
    any_value(number) filter (where of_used) as used_number,
    any_value(word) filter (where of_used) as used_word,
    bool_and(passed) filter (where of_used) as used_passed
from read
group by dataset, incident_id, model, place, gate, threshold, required
order by dataset desc, incident_id asc, model asc, place asc
