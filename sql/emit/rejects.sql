-- rejects: one row per source file, reason and scope: the number of rejects.
select
    file,
    reason,
    scope,
    count(*) as rejects
from rejects
group by file, reason, scope
order by file, reason, scope
