-- risk_only: one row per incident that augmentation appends to train: a standalone train incident
-- that is not in the unified train split (rule 9).
with unified_train as (
    select incident_id
    from splits
    where split = 'train'
),

risk_only as (
    select
        risk_splits.incident_id,
        risk_splits.model,
        risk_splits.cause_score,
        risk_splits.risk_score,
        risk_splits.position
    from risk_splits
    cross join settings
    anti join unified_train on risk_splits.incident_id = unified_train.incident_id
    where
        risk_splits.split = 'train'
        and settings.augmentation = 'not_in_train'
        and settings.dataset = 'unified'
)

select * from risk_only
order by position
