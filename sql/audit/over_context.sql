-- severity: warn
-- reads: conversations, made by immune_data/emit/records.py
-- A conversation is longer than the context it is trained in; `answer_cut` and `answer_lost` show
-- what its answer loses.
select
    conversations.incident_id,
    conversations.task,
    conversations.split,
    conversations.line,
    conversations.tokens,
    settings.max_sequence_tokens as context,
    conversations.tokens - settings.max_sequence_tokens as tokens_over
from conversations
cross join settings
where conversations.tokens > settings.max_sequence_tokens
order by tokens_over desc, conversations.split asc, conversations.line asc
