-- severity: error
-- reads: conversations, made by immune_data/emit/records.py
-- The context ends inside a record's answer: training sees neither the rest of the answer nor its
-- end.
select
    conversations.incident_id,
    conversations.task,
    conversations.split,
    conversations.line,
    conversations.tokens,
    conversations.prompt_tokens,
    conversations.answer_tokens,
    conversations.tokens - settings.max_sequence_tokens as answer_tokens_lost
from conversations
cross join settings
where
    conversations.tokens > settings.max_sequence_tokens
    and conversations.prompt_tokens < settings.max_sequence_tokens
order by answer_tokens_lost desc, conversations.split asc, conversations.line asc
