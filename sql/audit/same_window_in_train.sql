-- severity: warn
-- An eval incident has the source IP and time window of another incident that is in train: both
-- report the same traffic. One row per eval incident, with the first such train incident and how
-- many there are.
with used as (
    select distinct
        sft_records.split,
        sft_records.incident_id,
        incidents.source_ip,
        incidents.timewindow
    from sft_records
    inner join incidents on sft_records.incident_id = incidents.incident_id
)

select
    held.incident_id,
    min(train.incident_id) as train_incident_id,
    count(*) as train_incidents,
    held.source_ip,
    held.timewindow
from used as held
inner join used as train
    on
        held.source_ip = train.source_ip
        and held.timewindow = train.timewindow
        and held.incident_id <> train.incident_id
where held.split = 'eval' and train.split = 'train'
group by held.incident_id, held.source_ip, held.timewindow
order by held.incident_id
