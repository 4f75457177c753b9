-- eval_incidents: one row per incident that the recipe evaluates on.
-- reads: conversations, made by immune_data/emit/records.py
select distinct
    settings.recipe,
    conversations.incident_id
from conversations
cross join settings
where conversations.split = 'eval'
order by conversations.incident_id
