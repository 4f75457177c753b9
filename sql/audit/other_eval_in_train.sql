-- severity: info
-- reads: conversations, made by immune_data/emit/records.py
-- A train record is about an incident that another recipe evaluates on, or that is in an eval split
-- which this recipe draws but does not evaluate on: a score measured there is worthless for a model
-- that was trained on this recipe.
with other_eval as (
    select
        eval_incidents.recipe as evaluated_by,
        eval_incidents.incident_id
    from eval_incidents
    cross join settings
    where eval_incidents.recipe <> settings.recipe
    union
    select
        'standalone split' as evaluated_by,
        risk_splits.incident_id
    from risk_splits
    cross join settings
    where risk_splits.split = 'eval' and settings.dataset <> 'risk'
    union
    select
        'unified split' as evaluated_by,
        splits.incident_id
    from splits
    cross join settings
    where splits.split = 'eval' and settings.dataset <> 'unified'
)

select
    other_eval.evaluated_by,
    conversations.incident_id,
    conversations.task,
    conversations.line as train_line,
    conversations.origin
from conversations
inner join other_eval on conversations.incident_id = other_eval.incident_id
where conversations.split = 'train'
order by other_eval.evaluated_by, conversations.line
