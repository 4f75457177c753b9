-- pool: one row per incident judged on both tasks and present in both datasets (rule 2).
with judged as (
    select incident_id
    from judgements
    group by incident_id
    having count(distinct task) = 3
),

pool as (
    select incidents.incident_id
    from incidents
    inner join judged on incidents.incident_id = judged.incident_id
    where incidents.in_summaries and incidents.in_cause_risk
)

select * from pool
order by incident_id
