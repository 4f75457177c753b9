-- groups: one row per incident: its group, which a split by groups keeps on one side.
-- Incidents are in one group if they share source IP and time window, or a DAG text, directly or
-- through others; a group is named after its first incident.
-- If the recipe splits by hash, a group is only a source IP and time window, as for the hash
-- (`hashed_sides`).
-- sqlfluff:ignore:parsing
with recursive windows as (
    select
        incident_id,
        min(incident_id) over (
            partition by
                source_ip, timewindow, if(source_ip is null or timewindow is null, incident_id, null)
        ) as window_id
    from incidents
),

same_text as (
    select
        windows.window_id,
        min(windows.window_id) over (partition by dags.text_sha256) as first_window_id
    from dags
    inner join windows on dags.incident_id = windows.incident_id
    where (select settings.split_method from settings) <> 'hashed'
),

links as (
    select distinct
        window_id as a,
        first_window_id as b
    from same_text
    where window_id <> first_window_id
    union
    select distinct
        first_window_id as a,
        window_id as b
    from same_text
    where window_id <> first_window_id
),

-- Every window takes the first name of its linked windows, until none changes.
named (window_id, group_id) using key (window_id) as (
    select distinct
        window_id,
        window_id as group_id
    from windows
    union
    select
        links.b as window_id,
        min(named.group_id) as group_id
    from named
    inner join links on named.window_id = links.a
    inner join recurring.named as known on links.b = known.window_id
    where named.group_id < known.group_id
    group by links.b
)

select
    windows.incident_id,
    named.group_id
from windows
inner join named on windows.window_id = named.window_id
order by windows.incident_id
