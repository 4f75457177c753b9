-- gates: one row per pool incident: its value at every gate, and the first gate it fails (rule 4).
-- A length is that of the answer that comes closest to the bounds, whichever model gave it; a
-- level is the gravest that any model's risk answer names.
with limits as (
    select
        'summary' as task,
        summary_length_unit as unit,
        summary_length_min as least,
        summary_length_max as most
    from settings
    union all
    select
        'cause' as task,
        cause_length_unit as unit,
        cause_length_min as least,
        cause_length_max as most
    from settings
    union all
    select
        'risk' as task,
        risk_length_unit as unit,
        risk_length_min as least,
        risk_length_max as most
    from settings
),

measured as (
    select
        candidates.incident_id,
        candidates.task,
        candidates.score,
        list_position(['Critical', 'High', 'Medium', 'Low'], candidates.risk_level) as gravity,
        case limits.unit
            when 'chars4' then candidates.chars4
            when 'words' then candidates.words
            when 'tokens' then candidates.tokens
        end as length,
        greatest(limits.least - length, length - limits.most, 0) as miss
    from candidates
    inner join limits on candidates.task = limits.task
),

by_task as (
    select
        incident_id,
        task,
        max(score) as best_score,
        min({ 'miss': miss, 'length': length }) filter (where length is not null) as closest,
        min(gravity) as gravity
    from measured
    group by incident_id, task
),

by_incident as (
    select
        pool.incident_id,
        max(by_task.best_score) filter (where by_task.task = 'summary') as summary_score,
        max(by_task.best_score) filter (where by_task.task = 'cause') as cause_score,
        max(by_task.best_score) filter (where by_task.task = 'risk') as risk_score,
        any_value(by_task.closest) filter (where by_task.task = 'summary') as summary_closest,
        any_value(by_task.closest) filter (where by_task.task = 'cause') as cause_closest,
        any_value(by_task.closest) filter (where by_task.task = 'risk') as risk_closest,
        any_value(by_task.gravity) filter (where by_task.task = 'risk') as gravity
    from pool
    inner join by_task on pool.incident_id = by_task.incident_id
    group by pool.incident_id
),

verdicts as (
    select
        by_incident.incident_id,
        by_incident.summary_score,
        by_incident.cause_score,
        by_incident.risk_score,
        by_incident.summary_closest.length as summary_length,
        by_incident.cause_closest.length as cause_length,
        by_incident.risk_closest.length as risk_length,
        ['Critical', 'High', 'Medium', 'Low'][by_incident.gravity] as risk_level,
        case
            when by_incident.summary_score < settings.summary_score_min then 'summary_score'
            when by_incident.cause_score < settings.cause_total_min then 'cause_score'
            when by_incident.risk_score < settings.risk_total_min then 'risk_score'
            when coalesce(by_incident.summary_closest.miss, 1) > 0 then 'summary_length'
            when coalesce(by_incident.cause_closest.miss, 1) > 0 then 'cause_length'
            when coalesce(by_incident.risk_closest.miss, 1) > 0 then 'risk_length'
            when by_incident.gravity is null and settings.risk_level_required then 'risk_level'
        end as verdict
    from by_incident
    cross join settings
)

select
    incident_id,
    summary_score,
    cause_score,
    risk_score,
    summary_length,
    cause_length,
    risk_length,
    risk_level,
    verdict is null as passed,
    verdict
from verdicts
order by incident_id
