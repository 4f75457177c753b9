-- One row per incident that is written, in the order of their ids.
select
    counted.incident_id::varchar as incident_id,
    counted.category,
    counted.host,
    counted.window_number,
    counted.timeline,
    counted.window_start,
    counted.utc_offset,
    counted.threat_level,
    counted.event_count,
    counted.events_missing,
    counted.capture,
    counted.dialect
from counted
semi join chosen on counted.incident_id = chosen.incident_id
order by counted.incident_id
