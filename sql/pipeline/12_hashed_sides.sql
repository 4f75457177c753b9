-- hashed_sides: one row per incident if the recipe splits by hash; otherwise empty (rule 15).
-- reads: evidence_digests, made by immune_data/select/condensing.py
-- The `digest` of source IP and time window determines the `side`. For an incident on the train
-- side, `same_in_eval` is the first judged incident on the eval side with the same evidence.
with hashed as (
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
        -- A double represents 13 hexadecimal digits exactly, and no more.
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
    hashed.incident_id,
    hashed.digest,
    if(hashed.in_eval, 'eval', 'train') as side,
    if(hashed.in_eval, null, in_eval.incident_id) as same_in_eval
from hashed
left join evidence on hashed.incident_id = evidence.incident_id
left join in_eval on evidence.evidence_sha256 = in_eval.evidence_sha256
order by hashed.incident_id
