-- severity: warn
-- A source row, or entries of it, could not be used. `alike` counts those of the same file and
-- reason.
select
    incident_id,
    file,
    row,
    reason,
    scope,
    detail,
    count(*) over (partition by file, reason) as alike
from rejects
order by alike desc, file asc, reason asc, row asc
