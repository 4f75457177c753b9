-- overview: one row: how much was read, how much was emitted, and what of it the context cuts off.
with cut as (
    select
        conversations.incident_id,
        conversations.split,
        conversations.tokens,
        conversations.dag_truncated,
        conversations.tokens > settings.max_sequence_tokens as over,
        conversations.prompt_tokens >= settings.max_sequence_tokens as lost
    from conversations
    cross join settings
)

select
    (select count(*) from incidents) as incidents_read,
    (select settings.max_sequence_tokens from settings) as context,
    count(distinct incident_id) as incidents_emitted,
    count(*) as records,
    count(*) filter (where split = 'train') as train_records,
    count(*) filter (where split = 'eval') as eval_records,
    coalesce(sum(tokens), 0)::bigint as tokens,
    count(*) filter (where over) as over_context,
    count(*) filter (where over and not lost) as answers_cut,
    count(*) filter (where lost) as answers_lost,
    count(*) filter (where dag_truncated) as dags_cut
from cut
