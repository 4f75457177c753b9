-- linked: one row per event: its incident, if it is in one, and where the event is stored.
select
    owners.incident_id,
    owners.place,
    events.event_id,
    events.instant,
    events.file,
    events.line,
    events.spool_begin,
    events.spool_length
from events
left join owners on events.event_id = owners.event_id
