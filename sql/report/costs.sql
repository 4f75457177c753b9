-- costs: one row per reason why rules 10 to 15 leave out what rules 1 to 9 would use.
-- `answers`: those of pool incidents that were not used for this reason, though better than the one
-- used, or though none could be used; for rule 12 the risk answers that came with the best cause.
-- `stood_in`: the tasks of passing incidents for which a next best answer was used, by the gate
-- that the winner failed. `incidents`: those that pass rule 4, by any model's answers, but not all
-- gates here, by the first one that they fail; for rule 15 those that pass all gates. `records`:
-- their tasks without a record, since augmentation may append cause and risk.
with reasons as (
    select unnest([
        { 'reason': 'no answer', 'rule': 10 },
        { 'reason': 'refused by cleaning', 'rule': 10 },
        { 'reason': 'evidence too long', 'rule': 11 },
        { 'reason': 'not the best risk answer', 'rule': 12 },
        { 'reason': 'own score below the gate', 'rule': 13 },
        { 'reason': 'own length out of bounds', 'rule': 13 },
        { 'reason': 'no level', 'rule': 13 },
        { 'reason': 'names what is not shown', 'rule': 14 },
        { 'reason': 'the evidence of an eval incident', 'rule': 15 }
    ], recursive := true)
),

passed_over as (
    select
        choices.model <> choices.winner and gates.passed as stands_in,
        unnest(choices.passed_over).failure as failure,
        generate_subscripts(choices.passed_over, 1) as place
    from choices
    inner join gates on choices.incident_id = gates.incident_id
    cross join settings
    where settings.gates_look_at = 'winner'
),

failures as (
    select
        place = 1 and stands_in as stood_in,
        case
            when failure like '% refused by evidence_too_long' then 'evidence too long'
            when failure like '% refused by ungrounded' then 'names what is not shown'
            when failure like '% refused by %' then 'refused by cleaning'
            when failure like '% scores %' then 'own score below the gate'
            when failure like '% has length %' then 'own length out of bounds'
            when failure like '% names no level' then 'no level'
            else 'no answer'
        end as reason
    from passed_over
),

with_the_cause as (
    select causes.incident_id
    from choices as causes
    inner join choices as risks on causes.incident_id = risks.incident_id
    where causes.task = 'cause' and risks.task = 'risk' and causes.winner <> risks.winner
),

answers as (
    select
        reason,
        count(*) as answers,
        count(*) filter (where stood_in) as stood_in
    from failures
    group by reason
    union all
    select
        'not the best risk answer' as reason,
        count(*) as answers,
        0 as stood_in
    from with_the_cause
),

any_answer as (
    select
        candidates.incident_id,
        max(candidates.score) filter (where candidates.task = 'summary') as summary_score,
        max(candidates.score) filter (where candidates.task = 'cause') as cause_total,
        max(candidates.score) filter (where candidates.task = 'risk') as risk_total,
        count(distinct candidates.task) filter (where candidates.miss = 0) as tasks_within_bounds,
        count(*) filter (where candidates.risk_level is not null) as levels
    from candidates
    inner join pool on candidates.incident_id = pool.incident_id
    group by candidates.incident_id
),

pass_rule_4 as (
    select any_answer.incident_id
    from any_answer
    cross join settings
    where
        any_answer.summary_score >= settings.summary_score_min
        and any_answer.cause_total >= settings.cause_total_min
        and any_answer.risk_total >= settings.risk_total_min
        and any_answer.tasks_within_bounds = 3
        and (any_answer.levels > 0 or not settings.risk_level_required)
),

lost as (
    select
        gates.incident_id,
        case
            when gate_values.word = 'evidence_too_long' then 'evidence too long'
            when gate_values.word = 'ungrounded' then 'names what is not shown'
            when gate_values.word is not null then 'refused by cleaning'
            when gates.verdict like '%_level' then 'no level'
            when gate_values.number is null then 'no answer'
            when gates.verdict like '%_score' then 'own score below the gate'
            when gates.verdict like '%_length' then 'own length out of bounds'
        end as reason
    from gates
    inner join pass_rule_4 on gates.incident_id = pass_rule_4.incident_id
    inner join gate_values
        on
            gates.incident_id = gate_values.incident_id
            and gates.verdict = gate_values.gate
            and gate_values.dataset = 'unified'
    where not gates.passed
    union all
    select
        gates.incident_id,
        'the evidence of an eval incident' as reason
    from gates
    inner join hashed_sides on gates.incident_id = hashed_sides.incident_id
    where gates.passed and hashed_sides.same_in_eval is not null
),

without_record as (
    select
        lost.reason,
        count(distinct lost.incident_id) as incidents,
        count(*) filter (where accounts.reason is not null) as records
    from lost
    inner join accounts on lost.incident_id = accounts.incident_id
    group by lost.reason
)

select
    reasons.rule,
    reasons.reason,
    coalesce(answers.answers, 0) as answers,
    coalesce(answers.stood_in, 0) as stood_in,
    coalesce(without_record.incidents, 0) as incidents,
    coalesce(without_record.records, 0) as records
from reasons
left join answers on reasons.reason = answers.reason
left join without_record on reasons.reason = without_record.reason
order by reasons.rule, reasons.reason
