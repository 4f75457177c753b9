-- records: one row per emitted record of the incident.
-- reads: conversations, made by immune_data/emit/records.py
-- It has the record's place, its tokens, those past the context, its warnings, and its messages.
with warned as (
    select
        split,
        line,
        list(warning order by warning) as warnings
    from warnings
    where incident_id = getvariable('incident')
    group by split, line
)

select
    conversations.split,
    conversations.line,
    conversations.task,
    conversations.model,
    sft_records.score,
    conversations.origin,
    sft_records.copy,
    conversations.tokens,
    conversations.prompt_tokens,
    conversations.answer_tokens,
    conversations.dag_tokens,
    conversations.dag_tokens_shown,
    conversations.dag_truncated,
    settings.max_sequence_tokens as context,
    greatest(conversations.tokens - settings.max_sequence_tokens, 0) as tokens_past_context,
    least(
        greatest(conversations.tokens - settings.max_sequence_tokens, 0),
        conversations.answer_tokens
    ) as answer_tokens_past_context,
    coalesce(warned.warnings, []) as warnings,
    conversations.messages
from conversations
inner join sft_records
    on
        conversations.split = sft_records.split
        and conversations.line = sft_records.line
cross join settings
left join warned
    on
        conversations.split = warned.split
        and conversations.line = warned.line
where conversations.incident_id = getvariable('incident')
order by conversations.split = 'eval', conversations.line
