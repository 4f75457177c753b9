-- examples: one row per conversation to show.
-- reads: conversations, made by immune_data/emit/records.py
-- These are the first of each task in the first split that has any, and the one that loses most of
-- its answer past the context, if any does.
with marked as (
    select
        conversations.split,
        conversations.line,
        row_number() over (
            partition by conversations.task
            order by conversations.split desc, conversations.line asc
        ) = 1 as first_of_task,
        least(
            conversations.tokens - settings.max_sequence_tokens, conversations.answer_tokens
        ) as lost
    from conversations
    cross join settings
),

chosen as (
    select
        split,
        line,
        first_of_task,
        lost,
        lost > 0 and row_number() over (order by lost desc, split desc, line asc) = 1 as worst
    from marked
)

select
    conversations.split,
    conversations.line,
    conversations.incident_id,
    conversations.task,
    conversations.model,
    conversations.origin,
    conversations.tokens,
    conversations.answer_tokens,
    conversations.dag_tokens,
    conversations.dag_tokens_shown,
    conversations.messages,
    sft_records.score,
    settings.max_sequence_tokens as context,
    greatest(chosen.lost, 0) as answer_tokens_lost
from chosen
inner join conversations
    on
        chosen.split = conversations.split
        and chosen.line = conversations.line
inner join sft_records
    on
        chosen.split = sft_records.split
        and chosen.line = sft_records.line
cross join settings
where chosen.first_of_task or chosen.worst
order by chosen.worst, list_position(['summary', 'cause', 'risk'], conversations.task)
