-- risk_pool: one row per incident of the cause and risk dataset that was judged on both (rule 8).
-- `ordinal` is its place in the judge file's order.
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
)

select
    incident_id,
    row_number() over (order by judged_at) as ordinal
from judged
order by ordinal
