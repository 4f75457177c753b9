-- severity: warn
-- An eval incident has exactly the DAG text of another incident that is in train. One row per eval
-- incident, with the first such train incident and how many there are.
with used as (
    select distinct
        sft_records.split,
        sft_records.incident_id,
        dags.text_sha256
    from sft_records
    inner join dags
        on
            sft_records.incident_id = dags.incident_id
            and sft_records.dag_dataset = dags.dataset
)

select
    held.incident_id,
    min(train.incident_id) as train_incident_id,
    count(*) as train_incidents,
    held.text_sha256
from used as held
inner join used as train
    on
        held.text_sha256 = train.text_sha256
        and held.incident_id <> train.incident_id
where held.split = 'eval' and train.split = 'train'
group by held.incident_id, held.text_sha256
order by held.incident_id
