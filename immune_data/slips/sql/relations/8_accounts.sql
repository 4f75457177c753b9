-- accounts: one row per file: the outcome of its lines. `incidents` and `events` are lines that
-- count, each id once; a line that repeats one of them is `repeated`.
with of_events as (
    select
        file,
        count(*) as events,
        count(incident_id) as linked
    from linked
    group by file
),

read_from as (
    select
        file,
        count(*) as lines
    from read_events
    group by file
),

of_incidents as (
    select
        read_incidents.file,
        count(counted.n) as incidents,
        sum(counted.events_missing) as missing,
        count(*) as lines
    from read_incidents
    left join counted on read_incidents.n = counted.n
    group by read_incidents.file
),

of_rejects as (
    select
        file,
        count(*) as rejected,
        count(*) filter (reason = 'other_content') as other_content
    from rejects
    group by file
)

select
    files.name as file,
    coalesce(of_incidents.incidents, 0) as incidents,
    coalesce(of_events.events, 0) as events,
    coalesce(of_events.linked, 0) as linked,
    coalesce(of_events.events, 0) - coalesce(of_events.linked, 0) as alone,
    coalesce(of_incidents.missing, 0) as missing,
    coalesce(read_from.lines, 0) + coalesce(of_incidents.lines, 0)
    - coalesce(of_events.events, 0) - coalesce(of_incidents.incidents, 0)
    - coalesce(of_rejects.other_content, 0) as repeated,
    coalesce(of_rejects.rejected, 0) as rejected
from files
left join of_events on files.file = of_events.file
left join read_from on files.file = read_from.file
left join of_incidents on files.file = of_incidents.file
left join of_rejects on files.name = of_rejects.file
