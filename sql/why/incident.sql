-- incident: one row: the facts of the incident that the variable `incident` names.
select
    incident_id,
    category,
    source_ip,
    timewindow,
    timeline,
    threat_level,
    event_count,
    in_summaries,
    in_cause_risk
from incidents
where incident_id = getvariable('incident')
