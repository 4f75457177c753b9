-- One row per event of an incident that is written, incident by incident and by time, then those
-- that are in none: where each is stored.
select
    linked.incident_id::varchar as incident_id,
    linked.place,
    files.name as file,
    linked.line,
    linked.spool_begin,
    linked.spool_length
from linked
inner join files on linked.file = files.file
left join chosen on linked.incident_id = chosen.incident_id
where chosen.incident_id is not null or linked.incident_id is null
order by linked.incident_id nulls last, linked.instant, linked.event_id
