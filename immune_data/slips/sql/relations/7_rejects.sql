-- rejects: one row per line that is not used.
with read_lines as (
    select
        read_events.n,
        read_events.file,
        read_events.line,
        'event ' || read_events.event_id as what
    from read_events
    inner join events on read_events.event_id = events.event_id
    where read_events.digest <> events.digest
    union all
    select
        read_incidents.n,
        read_incidents.file,
        read_incidents.line,
        'incident ' || read_incidents.incident_id as what
    from read_incidents
    inner join incidents on read_incidents.incident_id = incidents.incident_id
    where read_incidents.digest <> incidents.digest
),

unused as (
    select
        file,
        line,
        reason,
        detail,
        text
    from read_rejects
    union all
    select
        file,
        line,
        'other_content' as reason,
        what || ' is another one in another line' as detail,
        null as text
    from read_lines
)

select
    files.name as file,
    unused.line,
    unused.reason,
    unused.detail,
    unused.text
from unused
inner join files on unused.file = files.file
