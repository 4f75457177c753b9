-- gates: one row per gate of either dataset, in order: the incident's value, the limit, whether it
-- passes, and whether it is the first that it fails. A gate's place is its place in the verdict.
-- `used` and `used_passes` are the same for the answer that is used: if a recipe's gates look at
-- any model's answers, another one may have passed instead.
with verdicts as (
    select
        'unified' as dataset,
        null as cause_model,
        null as risk_model,
        verdict
    from gates
    where incident_id = getvariable('incident')
    union all
    select
        'standalone' as dataset,
        cause_model,
        risk_model,
        verdict
    from risk_gates
    where incident_id = getvariable('incident')
),

told as (
    select
        gate_values.*,
        verdicts.verdict,
        gate_limits.measure
    from gate_values
    inner join gate_limits
        on
            gate_values.dataset = gate_limits.dataset
            and gate_values.gate = gate_limits.gate
    inner join verdicts
        on
            gate_values.dataset = verdicts.dataset
            and gate_values.model is not distinct from
            if(gate_limits.task = 'risk', verdicts.risk_model, verdicts.cause_model)
    where gate_values.incident_id = getvariable('incident') and gate_values.required
)

select
    dataset,
    model,
    gate,
    case measure
        when 'score' then format('{:g}', number)
        when 'cleaning' then coalesce('refused by ' || word, 'clean')
        when 'length' then number::bigint::varchar
        when 'level' then word
    end as value,
    threshold as "limit",
    passed as passes,
    case measure
        when 'score' then format('{:g}', used_number)
        when 'cleaning' then coalesce('refused by ' || used_word, 'clean')
        when 'length' then used_number::bigint::varchar
        when 'level' then used_word
    end as used,
    used_passed as used_passes,
    coalesce(gate = verdict, false) as first_failed
from told
order by dataset desc, place asc
