-- fit: one row per split and task: the records that fit the context, and what the others lose.
-- reads: conversations, made by immune_data/emit/records.py
select
    conversations.split,
    conversations.task,
    count(*) as records,
    sum(conversations.tokens)::bigint as tokens,
    max(conversations.tokens) as longest,
    count(*) filter (where conversations.tokens <= settings.max_sequence_tokens) as whole,
    count(*) filter (
        where conversations.tokens > settings.max_sequence_tokens
        and conversations.prompt_tokens < settings.max_sequence_tokens
    ) as answer_cut,
    count(*) filter (
        where conversations.prompt_tokens >= settings.max_sequence_tokens
    ) as answer_lost,
    count(*) filter (where conversations.dag_truncated) as dag_cut
from conversations
cross join settings
group by conversations.split, conversations.task
order by
    conversations.split desc,
    list_position(['summary', 'cause', 'risk'], conversations.task) asc
