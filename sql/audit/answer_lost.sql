-- severity: error
-- reads: conversations, made by immune_data/emit/records.py
-- The context ends before a record's answer begins: training sees nothing of it.
select
    conversations.incident_id,
    conversations.task,
    conversations.split,
    conversations.line,
    conversations.tokens,
    conversations.prompt_tokens,
    conversations.answer_tokens
from conversations
cross join settings
where conversations.prompt_tokens >= settings.max_sequence_tokens
order by conversations.prompt_tokens desc, conversations.split asc, conversations.line asc
