-- severity: warn
-- reads: evidence_digests, made by immune_data/select/condensing.py
-- An eval incident has, below its header, the same condensed evidence as another incident that is
-- in train, if the recipe splits by hash. One row per eval incident, with the first such train
-- incident and how many there are.
with used as (
    select distinct
        sft_records.split,
        sft_records.incident_id,
        evidence_digests.sha256
    from sft_records
    inner join evidence_digests
        on
            sft_records.incident_id = evidence_digests.incident_id
            and sft_records.dag_dataset = evidence_digests.dataset
)

select
    held.incident_id,
    min(train.incident_id) as train_incident_id,
    count(*) as train_incidents
from used as held
inner join used as train
    on
        held.sha256 = train.sha256
        and held.incident_id <> train.incident_id
where held.split = 'eval' and train.split = 'train'
group by held.incident_id
order by held.incident_id
