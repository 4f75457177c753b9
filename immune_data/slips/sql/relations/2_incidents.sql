-- incidents: one row per incident: the line that counts, like that of an event.
with lines as (
    select arg_min(n, row(dialect, digest, n)) as n
    from read_incidents
    group by incident_id
)

select
    read_incidents.n,
    read_incidents.file,
    read_incidents.line,
    read_incidents.digest,
    read_incidents.dialect,
    read_incidents.incident_id,
    read_incidents.capture,
    read_incidents.category,
    read_incidents.host,
    read_incidents.window_number,
    read_incidents.linked_window,
    read_incidents.timeline,
    read_incidents.window_start,
    read_incidents.utc_offset,
    read_incidents.threat_level,
    read_incidents.written_instant,
    read_incidents.events_named
from read_incidents
semi join lines on read_incidents.n = lines.n
