-- risk_gates: one row per incident of the cause and risk dataset that was judged on both, in the
-- judge file's order: the standalone winner, its own values, and the first gate it fails (rule 8).
with judged as (
    select
        candidates.incident_id,
        min({ 'precedence': judge_runs.precedence, 'row': candidates.row }) as judged_at,
        max(candidates.model) filter (where candidates.rank = 1) as model
    from candidates
    inner join incidents on candidates.incident_id = incidents.incident_id
    inner join judge_runs
        on
            candidates.judge_run = judge_runs.judge_run
            and candidates.task = judge_runs.task
    where candidates.task in ('cause', 'risk') and incidents.in_cause_risk
    group by candidates.incident_id
    having count(distinct candidates.task) = 2
),

measured as (
    select
        candidates.incident_id,
        candidates.task,
        candidates.model,
        candidates.score,
        candidates.risk_level,
        case if(
            candidates.task = 'cause',
            settings.standalone_cause_length_unit,
            settings.standalone_risk_length_unit
        )
            when 'chars4' then candidates.chars4
            when 'words' then candidates.words
            when 'tokens' then candidates.tokens
        end as length
    from candidates
    cross join settings
),

winners as (
    select
        judged.incident_id,
        judged.model,
        cause.score as cause_score,
        risk.score as risk_score,
        cause.length as cause_length,
        risk.length as risk_length,
        risk.risk_level,
        row_number() over (order by judged.judged_at) as ordinal
    from judged
    left join measured as cause
        on
            judged.incident_id = cause.incident_id
            and judged.model = cause.model
            and cause.task = 'cause'
    left join measured as risk
        on
            judged.incident_id = risk.incident_id
            and judged.model = risk.model
            and risk.task = 'risk'
),

verdicts as (
    select
        winners.*,
        case
            when coalesce(winners.cause_score < settings.cause_total_min, true) then 'cause_score'
            when coalesce(winners.risk_score < settings.risk_total_min, true) then 'risk_score'
            when not coalesce(
                winners.cause_length
                between settings.standalone_cause_length_min
                and settings.standalone_cause_length_max, false
            ) then 'cause_length'
            when not coalesce(
                winners.risk_length
                between settings.standalone_risk_length_min
                and settings.standalone_risk_length_max, false
            ) then 'risk_length'
            when winners.risk_level is null and settings.risk_level_required then 'risk_level'
        end as verdict
    from winners
    cross join settings
)

select
    incident_id,
    ordinal,
    model,
    cause_score,
    risk_score,
    cause_length,
    risk_length,
    risk_level,
    verdict is null as passed,
    verdict
from verdicts
order by ordinal
