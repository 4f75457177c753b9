-- severity: info
-- A source incident has no record for a task; the first reason why is given.
select
    incident_id,
    task,
    reason
from accounts
where reason is not null
order by incident_id, task
