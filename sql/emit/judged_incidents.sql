-- judged_incidents: one row per incident that was judged on any task: its facts, and its evidence
-- reads: condensed, made by immune_data/select/condensing.py
-- where the recipe condenses it. The risk dataset's is used where it has any.
with evidence as (
    select
        incident_id,
        arg_min(text, dataset) as condensed,  -- 'cause_risk' sorts before 'summaries'
        arg_min(tokens, dataset) as condensed_tokens
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
    evidence.condensed,
    evidence.condensed_tokens
from incidents
left join evidence on incidents.incident_id = evidence.incident_id
semi join judgements on incidents.incident_id = judgements.incident_id
