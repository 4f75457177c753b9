-- counted: one row per incident, with the number of its events, and of those that it names but that
-- are in no line.
with owned as (
    select
        incident_id,
        count(*) as events
    from linked
    where incident_id is not null
    group by incident_id
),

missing as (
    select
        incidents.incident_id,
        incidents.events_named - count(distinct events.event_id) as events
    from incidents
    left join links on incidents.n = links.n
    left join events on links.event_id = events.event_id
    group by incidents.incident_id, incidents.events_named
)

select
    incidents.n,
    incidents.file,
    incidents.dialect,
    incidents.incident_id,
    incidents.capture,
    incidents.category,
    incidents.host,
    incidents.window_number,
    incidents.timeline,
    incidents.window_start,
    incidents.utc_offset,
    incidents.threat_level,
    incidents.written_instant,
    incidents.events_named,
    coalesce(owned.events, 0) as event_count,
    missing.events as events_missing
from incidents
left join owned on incidents.incident_id = owned.incident_id
inner join missing on incidents.incident_id = missing.incident_id
