-- judged_incidents: one row per incident that was judged on any task: its facts.
select
    incidents.incident_id,
    incidents.source_ip,
    incidents.timewindow,
    incidents.timeline,
    incidents.threat_level,
    incidents.event_count
from incidents
semi join judgements on incidents.incident_id = judgements.incident_id
