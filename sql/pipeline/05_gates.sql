-- gates: one row per pool incident: its value at every gate, and the first gate it fails (rule 4).
-- They are read from any model's answers, or from the chosen ones, as the recipe says. A score is
-- the best; a length that of the answer that comes closest to the bounds; a level the gravest
-- named; a `…_refused_by` the cleaning rule that refuses an answer.
with looked_at as (
    select
        candidates.*,
        list_position(['Critical', 'High', 'Medium', 'Low'], candidates.risk_level) as gravity
    from candidates
    inner join choices
        on
            candidates.incident_id = choices.incident_id
            and if(candidates.task = 'summary', 'summary', 'cause') = choices.task
    cross join settings
    where settings.gates_look_at = 'any' or candidates.model = choices.model
),

by_task as (
    select
        incident_id,
        task,
        max(score) as score,
        min({ 'miss': miss, 'length': length }) filter (where length is not null) as closest,
        min(gravity) as gravity,
        min(refused_by) as refused_by
    from looked_at
    group by incident_id, task
),

by_incident as (
    select
        pool.incident_id,
        summary.score as summary_score,
        cause.score as cause_score,
        risk.score as risk_score,
        summary.refused_by as summary_refused_by,
        cause.refused_by as cause_refused_by,
        risk.refused_by as risk_refused_by,
        summary.closest as summary_closest,
        cause.closest as cause_closest,
        risk.closest as risk_closest,
        risk.gravity
    from pool
    left join by_task as summary
        on pool.incident_id = summary.incident_id and summary.task = 'summary'
    left join by_task as cause
        on pool.incident_id = cause.incident_id and cause.task = 'cause'
    left join by_task as risk
        on pool.incident_id = risk.incident_id and risk.task = 'risk'
),

verdicts as (
    select
        by_incident.*,
        case
            when by_incident.summary_score < settings.summary_score_min then 'summary_score'
            when by_incident.cause_score < settings.cause_total_min then 'cause_score'
            when coalesce(by_incident.risk_score < settings.risk_total_min, true) then 'risk_score'
            when by_incident.summary_refused_by is not null then 'summary_cleaning'
            when by_incident.cause_refused_by is not null then 'cause_cleaning'
            when by_incident.risk_refused_by is not null then 'risk_cleaning'
            when coalesce(by_incident.summary_closest.miss, 1) > 0 then 'summary_length'
            when coalesce(by_incident.cause_closest.miss, 1) > 0 then 'cause_length'
            when coalesce(by_incident.risk_closest.miss, 1) > 0 then 'risk_length'
            when by_incident.gravity is null and settings.risk_level_required then 'risk_level'
        end as verdict
    from by_incident
    cross join settings
)

select
    verdicts.incident_id,
    verdicts.summary_score,
    verdicts.cause_score,
    verdicts.risk_score,
    verdicts.summary_refused_by,
    verdicts.cause_refused_by,
    verdicts.risk_refused_by,
    verdicts.summary_closest.length as summary_length,
    verdicts.cause_closest.length as cause_length,
    verdicts.risk_closest.length as risk_length,
    ['Critical', 'High', 'Medium', 'Low'][verdicts.gravity] as risk_level,
    verdicts.verdict is null as passed,
    verdicts.verdict
from verdicts
order by verdicts.incident_id
