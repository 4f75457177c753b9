-- gates: one row per pool incident: its value at every gate, and the first gate it fails (rule 4).
-- `gate_values` defines the values; a `…_refused_by` is the cleaning rule that refuses.
with gates as (
    select
        incident_id,
        max(number) filter (where gate = 'summary_score') as summary_score,
        max(number) filter (where gate = 'cause_score') as cause_score,
        max(number) filter (where gate = 'risk_score') as risk_score,
        max(word) filter (where gate = 'summary_cleaning') as summary_refused_by,
        max(word) filter (where gate = 'cause_cleaning') as cause_refused_by,
        max(word) filter (where gate = 'risk_cleaning') as risk_refused_by,
        max(number) filter (where gate = 'summary_length')::bigint as summary_length,
        max(number) filter (where gate = 'cause_length')::bigint as cause_length,
        max(number) filter (where gate = 'risk_length')::bigint as risk_length,
        max(word) filter (where gate = 'risk_level') as risk_level,
        bool_and(passed) as passed,
        arg_min(gate, place) filter (where not passed) as verdict
    from gate_values
    where dataset = 'unified'
    group by incident_id
)

select * from gates
order by incident_id
