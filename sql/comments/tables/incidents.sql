comment on table incidents is 'One row per incident that either dataset contains.';

comment on column incidents.incident_id is 'UUID of the incident, as text';
comment on column incidents.category is 'Malware or Normal, as the source file says';
comment on column incidents.source_ip is 'address of the host that the incident is about';
comment on column incidents.timewindow is 'number of the Slips time window, as text';
comment on column incidents.timeline is
'start and end of the time window, as the source file writes them';
comment on column incidents.threat_level is 'accumulated threat level that Slips gave the incident';
comment on column incidents.event_count is 'number of events, as the source file says';
comment on column incidents.in_summaries is 'whether the summary dataset contains the incident';
comment on column incidents.in_cause_risk is
'whether the cause and risk dataset contains the incident';
