-- sft_records: one row per record to emit, without its texts: `line` is its place in its split's
-- file (rule 6: per incident summary, cause, risk, in split order; then what augmentation appends;
-- then the copies). The risk dataset's evidence is used if it has any.
with evidence as (
    select
        incident_id,
        min(dataset) as dag_dataset  -- 'cause_risk' sorts before 'summaries'
    from dags
    group by incident_id
),

complete as (
    select incident_id
    from best_responses
    group by incident_id
    having bool_and(answered)
),

unified as (
    select
        splits.split,
        splits.position,
        best_responses.incident_id,
        best_responses.task,
        best_responses.model,
        best_responses.score,
        'unified' as origin
    from splits
    inner join complete on splits.incident_id = complete.incident_id
    inner join best_responses on splits.incident_id = best_responses.incident_id
    cross join settings
    where settings.dataset = 'unified'
),

standalone as (
    select
        risk_splits.split,
        risk_splits.position,
        risk_splits.incident_id,
        risk_splits.cause_model,
        risk_splits.risk_model,
        risk_splits.cause_score,
        risk_splits.risk_score
    from risk_splits
    cross join settings
    where settings.dataset = 'risk'
    union all
    select
        'train' as split,
        risk_only.position,
        risk_only.incident_id,
        risk_only.cause_model,
        risk_only.risk_model,
        risk_only.cause_score,
        risk_only.risk_score
    from risk_only
),

cause_and_risk as (
    select
        split,
        position,
        incident_id,
        'cause' as task,
        cause_model as model,
        cause_score as score,
        'risk_only' as origin
    from standalone
    union all
    select
        split,
        position,
        incident_id,
        'risk' as task,
        risk_model as model,
        risk_score as score,
        'risk_only' as origin
    from standalone
),

originals as (
    select * from unified
    union all
    select * from cause_and_risk
),

copied as (
    select
        originals.*,
        copies.copy
    from originals
    cross join settings
    cross join unnest(range(0, settings.cause_risk_copies)) as copies (copy)
    where copies.copy = 0 or (originals.split = 'train' and originals.task in ('cause', 'risk'))
),

sft_records as (
    select
        copied.split,
        row_number() over (
            partition by copied.split
            order by
                copied.copy,
                copied.origin = 'risk_only',
                copied.position,
                list_position(['summary', 'cause', 'risk'], copied.task)
        ) as line,
        copied.incident_id,
        copied.task,
        copied.model,
        copied.score,
        copied.origin,
        copied.copy,
        evidence.dag_dataset
    from copied
    inner join evidence on copied.incident_id = evidence.incident_id
)

select * from sft_records
order by split, line
