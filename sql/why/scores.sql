-- scores: one row per task, judge run and model that was judged: whether that run counts, how many
-- runs count, and the `mean` of their scores, null if only one does.
with judged as (
    select
        judgements.task,
        judgements.judge_run,
        judgements.row,
        judgements.model,
        judgements.score,
        judgements.rank,
        judgements.evidence_grounding,
        judgements.cause_specificity,
        judgements.alternative_hypotheses,
        judgements.risk_calibration,
        judgements.actionability,
        judgements.business_impact,
        judgements.calls,
        judgements.spread,
        judge_runs.judge,
        judge_runs.provider,
        settings.judging_combine = 'mean'
        or judge_runs.precedence = min(judge_runs.precedence) over (
            partition by judgements.task
        ) as stands
    from judgements
    cross join settings
    inner join judge_runs
        on
            judgements.judge_run = judge_runs.judge_run
            and judgements.task = judge_runs.task
    where judgements.incident_id = getvariable('incident')
)

select
    judged.*,
    candidates.place,
    candidates.runs,
    if(candidates.runs > 1, candidates.score, null) as mean
from judged
left join candidates
    on
        candidates.incident_id = getvariable('incident')
        and judged.task = candidates.task
        and judged.model = candidates.model
        and judged.stands
order by
    list_position(['summary', 'cause', 'risk'], judged.task) asc,
    judged.stands desc,
    judged.judge_run asc,
    candidates.place asc nulls last,
    judged.score desc,
    judged.model asc
