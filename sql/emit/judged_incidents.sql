-- judged_incidents: one row per incident that was judged on any task, if the recipe cleans answers:
-- reads: condensed, made by immune_data/select/condensing.py
-- its facts, and the row of `condensed` with its evidence, if the recipe condenses it. The risk
-- dataset's is used if it has any.
with evidence as (
    select
        incident_id,
        arg_min(rowid, dataset) as condensed_row  -- 'cause_risk' sorts before 'summaries'
    from condensed
    group by incident_id
)

select
    incidents.incident_id,
    incidents.source_ip,
    incidents.timewindow,
    incidents.timeline,
    incidents.threat_level,
    incidents.event_count,
    evidence.condensed_row
from incidents
left join evidence on incidents.incident_id = evidence.incident_id
semi join judgements on incidents.incident_id = judgements.incident_id
where (select settings.answers_cleaned from settings)
order by incidents.incident_id
