-- accounts: one row per source incident and task: the splits that contain its records and their
-- number, or the first reason why there are none. Either `splits` or `reason` is null.
with owed as (
    select
        incidents.incident_id,
        incidents.in_summaries,
        incidents.in_cause_risk,
        tasks.task,
        tasks.place
    from incidents
    cross join unnest(['summary', 'cause', 'risk']) with ordinality as tasks (task, place)
),

emitted as (
    select
        incident_id,
        task,
        list(distinct split order by split) as splits,
        count(*) as records
    from sft_records
    group by incident_id, task
),

judged as (
    select incident_id
    from judgements
    where task in ('cause', 'risk')
    group by incident_id
    having count(distinct task) = 2
),

complete as (
    select incident_id
    from best_responses
    group by incident_id
    having bool_and(answered)
),

reasons as (
    select
        owed.incident_id,
        owed.task,
        case
            when not (owed.in_summaries and owed.in_cause_risk) then 'missing from a dataset'
            when judged.incident_id is null then 'no cause and risk verdict'
            when pool.incident_id is null then 'no summary verdict'
            when gates.verdict is not null then 'fails ' || gates.verdict
            when hashed_sides.same_in_eval is not null then 'the evidence of an eval incident'
            when complete.incident_id is null then 'a winner without an answer'
            else 'no evidence'
        end as unified,
        case
            when owed.task = 'summary' then 'the recipe has no summaries'
            when not owed.in_cause_risk then 'missing from the cause and risk dataset'
            when risk_gates.incident_id is null then 'no cause and risk verdict'
            when not risk_gates.passed then 'standalone winner fails ' || risk_gates.verdict
            when hashed_sides.same_in_eval is not null then 'the evidence of an eval incident'
            else 'no evidence'
        end as standalone
    from owed
    left join judged on owed.incident_id = judged.incident_id
    left join pool on owed.incident_id = pool.incident_id
    left join gates on owed.incident_id = gates.incident_id
    left join hashed_sides on owed.incident_id = hashed_sides.incident_id
    left join complete on owed.incident_id = complete.incident_id
    left join risk_gates on owed.incident_id = risk_gates.incident_id
)

select
    owed.incident_id,
    owed.task,
    emitted.splits,
    coalesce(emitted.records, 0) as records,
    case
        when emitted.incident_id is not null then null
        when settings.dataset = 'risk' then reasons.standalone
        else reasons.unified
    end as reason
from owed
cross join settings
inner join reasons
    on
        owed.incident_id = reasons.incident_id
        and owed.task = reasons.task
left join emitted
    on
        owed.incident_id = emitted.incident_id
        and owed.task = emitted.task
order by owed.incident_id, owed.place
