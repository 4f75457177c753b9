-- risk_gates: one row per incident of `risk_pool`, in its order: the standalone winners, their own
-- values, and the first gate they fail (rule 8). The winner of both tasks is the model that the
-- judge ranks first; if the recipe's gates look at the winner, the next in rank that passes
-- replaces one that does not. If risk has a winner of its own (rule 12), each task has the model
-- with its best score that passes the task's gates.
with offers as (
    select
        gate_values.*,
        if(settings.choice_risk = 'own', gate_limits.task, 'cause and risk') as decided_on
    from gate_values
    inner join gate_limits
        on
            gate_values.dataset = gate_limits.dataset
            and gate_values.gate = gate_limits.gate
    cross join settings
    where gate_values.dataset = 'standalone'
),

passing as (
    select
        incident_id,
        decided_on,
        model,
        bool_and(passed) as passed
    from offers
    group by incident_id, decided_on, model
),

ranked as (
    select
        passing.incident_id,
        passing.decided_on,
        passing.model,
        row_number() over (
            partition by passing.incident_id, passing.decided_on
            order by
                not passing.passed,
                if(settings.choice_risk = 'own', candidates.place, candidates.rank),
                passing.model
        ) as preference
    from passing
    cross join settings
    left join candidates
        on
            passing.incident_id = candidates.incident_id
            and passing.model = candidates.model
            and candidates.task = if(passing.decided_on = 'risk', 'risk', 'cause')
),

winners as (
    select
        incident_id,
        any_value(model) filter (where decided_on <> 'risk') as cause_model,
        any_value(model) filter (where decided_on <> 'cause') as risk_model
    from ranked
    where preference = 1
    group by incident_id
),

risk_gates as (
    select
        offers.incident_id,
        max(offers.number) filter (where offers.gate = 'cause_score') as cause_score,
        max(offers.number) filter (where offers.gate = 'risk_score') as risk_score,
        max(offers.word) filter (where offers.gate = 'cause_cleaning') as cause_refused_by,
        max(offers.word) filter (where offers.gate = 'risk_cleaning') as risk_refused_by,
        max(offers.number) filter (where offers.gate = 'cause_length')::bigint as cause_length,
        max(offers.number) filter (where offers.gate = 'risk_length')::bigint as risk_length,
        max(offers.word) filter (where offers.gate = 'risk_level') as risk_level,
        bool_and(offers.passed) as passed,
        arg_min(offers.gate, offers.place) filter (where not offers.passed) as verdict
    from offers
    inner join ranked
        on
            offers.incident_id = ranked.incident_id
            and offers.decided_on = ranked.decided_on
            and offers.model is not distinct from ranked.model
    where ranked.preference = 1
    group by offers.incident_id
)

select
    risk_pool.incident_id,
    risk_pool.ordinal,
    winners.cause_model,
    winners.risk_model,
    risk_gates.cause_score,
    risk_gates.risk_score,
    risk_gates.cause_refused_by,
    risk_gates.risk_refused_by,
    risk_gates.cause_length,
    risk_gates.risk_length,
    risk_gates.risk_level,
    risk_gates.passed,
    risk_gates.verdict
from risk_gates
inner join winners on risk_gates.incident_id = winners.incident_id
inner join risk_pool on risk_gates.incident_id = risk_pool.incident_id
order by risk_pool.ordinal
