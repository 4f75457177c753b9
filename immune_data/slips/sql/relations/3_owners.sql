-- owners: one row per event that is in an incident.
-- IDMEFv2: an incident names its events; one that two incidents name belongs to the smaller id.
-- IDEA0: an alert has the events of its host and time window since the last alert, by the time at
-- which Slips wrote them; `place` orders them.
with named as (
    select
        links.event_id,
        min(incidents.incident_id) as incident_id,
        arg_min(links.place, row(incidents.incident_id, links.place)) as place
    from links
    inner join incidents on links.n = incidents.n
    group by links.event_id
),

of_idea0 as (
    select
        events.event_id,
        events.file,
        events.attacker,
        coalesce(events.window_number::varchar, '') as window_number,
        events.instant
    from events
    anti join named on events.event_id = named.event_id
    where events.dialect = 'IDEA0'
),

alerts as (
    select
        file,
        host,
        coalesce(linked_window::varchar, '') as window_number,
        written_instant,
        min(incident_id) as incident_id
    from incidents
    where dialect = 'IDEA0'
    group by all
),

by_window as (
    select
        of_idea0.event_id,
        alerts.incident_id,
        of_idea0.instant as place
    from of_idea0
    asof inner join alerts
        on
            of_idea0.file = alerts.file
            and of_idea0.attacker = alerts.host
            and of_idea0.window_number = alerts.window_number
            and of_idea0.instant <= alerts.written_instant
)

select
    named.event_id,
    named.incident_id,
    named.place
from named
semi join events on named.event_id = events.event_id
union all
select
    event_id,
    incident_id,
    place
from by_window
