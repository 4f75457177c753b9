-- funnel: one row per step from the datasets to the records, in order: how many incidents are left,
-- the records they give, how many were lost since the step before, and why.
with verdicts as (
    select
        'unified' as dataset,
        verdict
    from gates
    union all
    select
        'standalone' as dataset,
        verdict
    from risk_gates
),

lost_at as (
    select
        gate_limits.dataset,
        gate_limits.place,
        gate_limits.gate,
        count(verdicts.verdict) as lost
    from gate_limits
    left join verdicts
        on
            gate_limits.dataset = verdicts.dataset
            and gate_limits.gate = verdicts.verdict
    where gate_limits.required
    group by gate_limits.dataset, gate_limits.place, gate_limits.gate
),

pools as (
    select
        dataset,
        count(*) as incidents
    from verdicts
    group by dataset
),

past_gates as (
    select
        lost_at.dataset,
        lost_at.place,
        lost_at.gate,
        coalesce(pools.incidents, 0)
        - sum(lost_at.lost) over (
            partition by lost_at.dataset order by lost_at.place
        )::bigint as incidents
    from lost_at
    left join pools on lost_at.dataset = pools.dataset
),

judged_tasks as (
    select
        incident_id,
        bool_or(task = 'summary') as on_summary,
        bool_or(task = 'cause') and bool_or(task = 'risk') as on_cause_risk
    from judgements
    group by incident_id
),

steps as (
    select
        10 as place,
        'unified' as dataset,
        'read' as step,
        count(*) as incidents,
        'in at least one dataset' as why
    from incidents
    union all
    select
        20 as place,
        'unified' as dataset,
        'both datasets' as step,
        count(*) as incidents,
        'missing from a dataset' as why
    from incidents
    where in_summaries and in_cause_risk
    union all
    select
        30 as place,
        'unified' as dataset,
        'judged on causes and risks' as step,
        count(*) as incidents,
        'no cause and risk verdict' as why
    from incidents
    inner join judged_tasks on incidents.incident_id = judged_tasks.incident_id
    where incidents.in_summaries and incidents.in_cause_risk and judged_tasks.on_cause_risk
    union all
    select
        40 as place,
        'unified' as dataset,
        'pool' as step,
        count(*) as incidents,
        'no summary verdict' as why
    from pool
    union all
    select
        50 + place as place,
        'unified' as dataset,
        'gate ' || gate as step,
        incidents,
        'fails ' || gate as why
    from past_gates
    where dataset = 'unified'
    union all
    select
        64 as place,
        'unified' as dataset,
        'evidence apart from eval' as step,
        (select count(*) from splits) as incidents,
        'the evidence of an eval incident' as why
    from settings
    where split_method = 'hashed'
    union all
    select
        70 as place,
        'standalone' as dataset,
        'risk judged' as step,
        count(*) as incidents,
        'judged on cause and risk, in the cause and risk dataset' as why
    from risk_gates
    union all
    select
        70 + place as place,
        'standalone' as dataset,
        'risk gate ' || gate as step,
        incidents,
        'standalone winner fails ' || gate as why
    from past_gates
    where dataset = 'standalone'
    union all
    select
        86 as place,
        'standalone' as dataset,
        'risk evidence apart from eval' as step,
        (select count(*) from risk_splits) as incidents,
        'the evidence of an eval incident' as why
    from settings
    where split_method = 'hashed'
    union all
    select
        88 as place,
        'standalone' as dataset,
        'risk train split' as step,
        count(*) as incidents,
        'in the standalone eval split' as why
    from risk_splits
    where split = 'train'
),

counted as (
    select
        steps.place,
        steps.step,
        steps.incidents,
        null as records,
        coalesce(
            lag(steps.incidents) over (partition by steps.dataset order by steps.place)
            - steps.incidents,
            0
        ) as lost,
        steps.why
    from steps
),

emitted as (
    select
        split,
        origin,
        count(distinct incident_id) as incidents,
        count(*) as records
    from sft_records
    group by split, origin
),

split_steps as (
    select
        65 as place,
        'unified' as origin,
        splits.split,
        count(*) as incidents
    from splits
    cross join settings
    where settings.dataset = 'unified'
    group by splits.split
    union all
    select
        90 as place,
        'risk_only' as origin,
        risk_splits.split,
        count(*) as incidents
    from risk_splits
    cross join settings
    where settings.dataset = 'risk'
    group by risk_splits.split
    union all
    select
        95 as place,
        'risk_only' as origin,
        'train' as split,
        (select count(*) from risk_only) as incidents
    from settings
    where settings.dataset = 'unified' and settings.augmentation <> 'none'
),

records as (
    select
        split_steps.place + if(split_steps.split = 'train', 1, 2) as place,
        if(split_steps.place = 95, 'risk-only train', split_steps.split) as step,
        coalesce(emitted.incidents, 0) as incidents,
        coalesce(emitted.records, 0) as records,
        split_steps.incidents - coalesce(emitted.incidents, 0) as lost,
        'a winner without an answer, or no evidence' as why
    from split_steps
    left join emitted
        on
            split_steps.split = emitted.split
            and split_steps.origin = emitted.origin
),

funnel as (
    select * from counted
    union all
    select * from records
)

select
    step,
    incidents,
    records,
    lost,
    if(lost = 0, null, why) as why
from funnel
order by place
