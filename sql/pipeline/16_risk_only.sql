-- risk_only: one row per incident that augmentation appends to train: a standalone train incident
-- that is not in the unified train split (rule 9); or, if the recipe says so, one that is in
-- neither split and not in the group of an eval incident.
with unified_train as (
    select incident_id
    from splits
    where split = 'train'
),

eval_groups as (
    select distinct groups.group_id
    from splits
    inner join groups on splits.incident_id = groups.incident_id
    where splits.split = 'eval'
),

held_out as (
    select groups.incident_id
    from groups
    semi join eval_groups on groups.group_id = eval_groups.group_id
),

risk_only as (
    select
        risk_splits.incident_id,
        risk_splits.cause_model,
        risk_splits.risk_model,
        risk_splits.cause_score,
        risk_splits.risk_score,
        risk_splits.position
    from risk_splits
    cross join settings
    anti join unified_train on risk_splits.incident_id = unified_train.incident_id
    where
        risk_splits.split = 'train'
        and settings.dataset = 'unified'
        and (
            settings.augmentation = 'not_in_train'
            or (
                settings.augmentation = 'not_in_splits'
                and risk_splits.incident_id not in (select held_out.incident_id from held_out)
            )
        )
)

select * from risk_only
order by position
