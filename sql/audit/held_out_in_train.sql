-- severity: error
-- reads: conversations, made by immune_data/emit/records.py
-- A train record is about an incident that should be held out: its id is in the list that
-- `audit --held-out FILE` read into `held_out`, which is empty otherwise.
select
    conversations.incident_id,
    conversations.task,
    conversations.line as train_line,
    conversations.origin
from conversations
semi join held_out on conversations.incident_id = held_out.incident_id
where conversations.split = 'train'
order by conversations.line
