-- groups: one row per incident: what must stay on one side of a split that keeps groups whole.
-- reads: evidence_digests, made by immune_data/select/condensing.py
-- Incidents are of one group if they share source IP and time window, or a DAG text, directly or
-- through others; a group is named after its first incident.
-- Where the recipe divides by hash, a group is a source IP and time window alone (rule 15). Its
-- `digest` decides its `side`; an incident on the side of train whose evidence is that of judged
-- ones on the side of eval has the first of these in `same_in_eval`. Elsewhere all three are null.
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

-- Every window takes the first name that a linked one has, until none changes.
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
),

hashed as (
    select
        incidents.incident_id,
        sha256(
            concat_ws(
                chr(10),
                settings.split_key,
                coalesce(incidents.source_ip, incidents.incident_id),
                coalesce(incidents.timewindow, incidents.incident_id)
            )
        ) as digest,
        -- 13 hexadecimal digits are as many as a double holds exactly.
        ('0x' || left(digest, 13))::bigint < settings.eval_share * 16 ** 13 as in_eval
    from incidents
    cross join settings
    where settings.split_method = 'hashed'
),

evidence as (
    select
        incident_id,
        arg_min(sha256, dataset) as evidence_sha256  -- 'cause_risk' sorts before 'summaries'
    from evidence_digests
    group by incident_id
),

in_eval as (
    select
        evidence.evidence_sha256,
        min(hashed.incident_id) as incident_id
    from hashed
    inner join evidence on hashed.incident_id = evidence.incident_id
    where hashed.in_eval
    group by evidence.evidence_sha256
)

select
    windows.incident_id,
    named.group_id,
    hashed.digest,
    case when hashed.in_eval then 'eval' when not hashed.in_eval then 'train' end as side,
    if(hashed.in_eval, null, in_eval.incident_id) as same_in_eval
from windows
inner join named on windows.window_id = named.window_id
left join hashed on windows.incident_id = hashed.incident_id
left join evidence on windows.incident_id = evidence.incident_id
left join in_eval on evidence.evidence_sha256 = in_eval.evidence_sha256
order by windows.incident_id
