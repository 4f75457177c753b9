-- severity: error
-- reads: conversations, made by immune_data/emit/records.py
-- A train record is about an incident that the recipe evaluates on: every score measured on that
-- incident is worthless.
with in_eval as (
    select
        incident_id,
        list(distinct task order by task) as eval_tasks
    from conversations
    where split = 'eval'
    group by incident_id
)

select
    conversations.incident_id,
    conversations.task,
    conversations.line as train_line,
    conversations.origin,
    in_eval.eval_tasks
from conversations
inner join in_eval on conversations.incident_id = in_eval.incident_id
where conversations.split = 'train'
order by conversations.line
