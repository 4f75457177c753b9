-- risk_gates: one row per incident of the cause and risk dataset that was judged on both, in the
-- judge file's order: the standalone winner, its own values, and the first gate it fails (rule 8).
-- The winner is the judge's first in rank; where the recipe's gates look at the winner, the next
-- in rank that passes stands in for one that does not.
with judged as (
    select
        candidates.incident_id,
        min({ 'precedence': judge_runs.precedence, 'row': candidates.row }) as judged_at
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

answers as (
    select
        candidates.*,
        case if(
            candidates.task = 'cause',
            settings.standalone_cause_length_unit,
            settings.standalone_risk_length_unit
        )
            when 'chars4' then candidates.chars4
            when 'words' then candidates.words
            when 'tokens' then candidates.tokens
        end as standalone_length
    from candidates
    cross join settings
),

verdicts as (
    select
        causes.incident_id,
        causes.model,
        causes.rank,
        causes.score as cause_score,
        risks.score as risk_score,
        causes.refused_by as cause_refused_by,
        risks.refused_by as risk_refused_by,
        causes.standalone_length as cause_length,
        risks.standalone_length as risk_length,
        risks.risk_level,
        case
            when coalesce(causes.score < settings.cause_total_min, true) then 'cause_score'
            when coalesce(risks.score < settings.risk_total_min, true) then 'risk_score'
            when causes.refused_by is not null then 'cause_cleaning'
            when risks.refused_by is not null then 'risk_cleaning'
            when not coalesce(
                causes.standalone_length
                between settings.standalone_cause_length_min
                and settings.standalone_cause_length_max, false
            ) then 'cause_length'
            when not coalesce(
                risks.standalone_length
                between settings.standalone_risk_length_min
                and settings.standalone_risk_length_max, false
            ) then 'risk_length'
            when risks.risk_level is null and settings.risk_level_required then 'risk_level'
        end as verdict
    from answers as causes
    left join answers as risks
        on
            causes.incident_id = risks.incident_id
            and causes.model = risks.model
            and risks.task = 'risk'
    cross join settings
    where causes.task = 'cause'
),

winners as (
    select
        verdicts.incident_id,
        arg_min(
            verdicts,  -- noqa: RF02
            {
                'passed_over': settings.gates_look_at = 'winner' and verdicts.verdict is not null,
                'rank': verdicts.rank
            }
        ) as winner
    from verdicts
    cross join settings
    where verdicts.rank = 1 or (settings.gates_look_at = 'winner' and verdicts.rank is not null)
    group by verdicts.incident_id
)

select
    judged.incident_id,
    row_number() over (order by judged.judged_at) as ordinal,
    winners.winner.model,
    winners.winner.cause_score,
    winners.winner.risk_score,
    winners.winner.cause_refused_by,
    winners.winner.risk_refused_by,
    winners.winner.cause_length,
    winners.winner.risk_length,
    winners.winner.risk_level,
    winners.winner is not null and winners.winner.verdict is null as passed,
    if(winners.winner is null, 'cause_score', winners.winner.verdict) as verdict
from judged
left join winners on judged.incident_id = winners.incident_id
order by ordinal
