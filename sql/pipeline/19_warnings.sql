-- warnings: one row per warning and emitted record that it is about.
-- reads: conversations, made by immune_data/emit/records.py
-- `conversations` contains the emitted records with their messages and token counts.
with in_eval as (
    select distinct incident_id
    from conversations
    where split = 'eval'
),

warnings as (
    select
        'eval incident in train' as warning,
        conversations.split,
        conversations.line
    from conversations
    semi join in_eval on conversations.incident_id = in_eval.incident_id
    where conversations.split = 'train'
    union all
    select
        'over the context' as warning,
        conversations.split,
        conversations.line
    from conversations
    cross join settings
    where conversations.tokens > settings.max_sequence_tokens
    union all
    select
        'whole answer past the context' as warning,
        conversations.split,
        conversations.line
    from conversations
    cross join settings
    where conversations.prompt_tokens >= settings.max_sequence_tokens
    union all
    select
        'control token as text' as warning,
        split,
        line
    from conversations
    where holds_added_token
)

select
    warnings.warning,
    warnings.split,
    warnings.line,
    conversations.incident_id,
    conversations.task
from warnings
inner join conversations
    on
        warnings.split = conversations.split
        and warnings.line = conversations.line
order by warnings.warning, warnings.split, warnings.line
