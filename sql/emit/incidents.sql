-- incidents: one row per incident and split with a record of it, with its group: the content of a
-- dataset's `incidents.json`.
select
    sft_records.incident_id,
    sft_records.split,
    groups.group_id as "group"
from sft_records
inner join groups on sft_records.incident_id = groups.incident_id
group by all
order by sft_records.incident_id, sft_records.split
