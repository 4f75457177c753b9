-- severity: warn
-- Train has incidents of the category Normal and eval has none, although the recipe asks for eval
-- incidents: nothing measures whether harmless traffic is called harmless.
with of_splits as (
    select
        count(distinct sft_records.incident_id) filter (
            where sft_records.split = 'train' and incidents.category = 'Normal'
        ) as normal_in_train,
        count(distinct sft_records.incident_id) filter (
            where sft_records.split = 'eval' and incidents.category = 'Normal'
        ) as normal_in_eval,
        count(distinct sft_records.incident_id) filter (
            where sft_records.split = 'eval'
        ) as incidents_in_eval
    from sft_records
    inner join incidents on sft_records.incident_id = incidents.incident_id
)

select
    of_splits.normal_in_train,
    of_splits.incidents_in_eval
from of_splits
semi join sides on sides.split = 'eval' and sides.share_asked > 0
where of_splits.normal_in_train > 0 and of_splits.normal_in_eval = 0
