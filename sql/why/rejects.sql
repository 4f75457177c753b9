-- rejects: one row per reject that names the incident.
select
    file,
    row,
    scope,
    reason,
    detail
from rejects
where
    incident_id = getvariable('incident')
    or contains(json, '"' || getvariable('incident') || '"')
order by file, row, reason
