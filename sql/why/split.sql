-- split: one row: the split and place of the incident in either dataset, its group, whether
-- augmentation appends it to train, and if the recipe splits by hash, the side by the hash and the
-- eval incident whose evidence keeps this one out of train.
with grouped as (
    select
        groups.incident_id,
        groups.group_id,
        splits.split
    from groups
    left join splits on groups.incident_id = splits.incident_id
),

of_group as (
    select
        group_id,
        count(*) as incidents,
        count(*) filter (where split = 'train') as in_train,
        count(*) filter (where split = 'eval') as in_eval
    from grouped
    group by group_id
)

select
    splits.split,
    splits.position,
    groups.group_id,
    hashed_sides.digest,
    hashed_sides.side,
    hashed_sides.same_in_eval,
    of_group.incidents as group_incidents,
    of_group.in_train as group_in_train,
    of_group.in_eval as group_in_eval,
    risk_splits.split as standalone_split,
    risk_splits.position as standalone_position,
    risk_only.incident_id is not null as risk_only,
    settings.dataset,
    settings.augmentation
from groups
inner join of_group on groups.group_id = of_group.group_id
cross join settings
left join hashed_sides on groups.incident_id = hashed_sides.incident_id
left join splits on groups.incident_id = splits.incident_id
left join risk_splits on groups.incident_id = risk_splits.incident_id
left join risk_only on groups.incident_id = risk_only.incident_id
where groups.incident_id = getvariable('incident')
