-- risk_gates: one row per incident of `risk_pool`, in its order: the standalone winner, its own
-- values, and the first gate it fails (rule 8). The winner is the judge's first in rank;
-- where the recipe's gates look at the winner, the next in rank that passes stands in for one that
-- does not.
with offers as (
    select
        incident_id,
        model,
        max(number) filter (where gate = 'cause_score') as cause_score,
        max(number) filter (where gate = 'risk_score') as risk_score,
        max(word) filter (where gate = 'cause_cleaning') as cause_refused_by,
        max(word) filter (where gate = 'risk_cleaning') as risk_refused_by,
        max(number) filter (where gate = 'cause_length')::bigint as cause_length,
        max(number) filter (where gate = 'risk_length')::bigint as risk_length,
        max(word) filter (where gate = 'risk_level') as risk_level,
        bool_and(passed) as passed,
        arg_min(gate, place) filter (where not passed) as verdict
    from gate_values
    where dataset = 'standalone'
    group by incident_id, model
),

ranked as (
    select
        offers.*,
        risk_pool.ordinal,
        row_number() over (
            partition by offers.incident_id order by not offers.passed, candidates.rank
        ) as preference
    from offers
    inner join risk_pool on offers.incident_id = risk_pool.incident_id
    left join candidates
        on
            offers.incident_id = candidates.incident_id
            and offers.model = candidates.model
            and candidates.task = 'cause'
)

select
    incident_id,
    ordinal,
    model,
    cause_score,
    risk_score,
    cause_refused_by,
    risk_refused_by,
    cause_length,
    risk_length,
    risk_level,
    passed,
    verdict
from ranked
where preference = 1
order by ordinal
