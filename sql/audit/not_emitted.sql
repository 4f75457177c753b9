-- severity: info
-- A source incident gives no record for a task, and the first reason why.
select
    incident_id,
    task,
    reason
from accounts
where reason is not null
order by incident_id, task
