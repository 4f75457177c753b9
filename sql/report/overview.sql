-- overview: one row: how much was read, how much was emitted, and how much the context cuts off.
-- reads: conversations, made by immune_data/emit/records.py
-- Also how many eval records are about incidents in train, or in the group of one.
with in_train as (
    select distinct
        conversations.incident_id,
        groups.group_id
    from conversations
    inner join groups on conversations.incident_id = groups.incident_id
    where conversations.split = 'train'
),

leaked as (
    select
        count(*) filter (
            where conversations.incident_id in (select in_train.incident_id from in_train)
        ) as incidents,
        count(*) filter (
            where groups.group_id in (select in_train.group_id from in_train)
        ) as groups
    from conversations
    inner join groups on conversations.incident_id = groups.incident_id
    where conversations.split = 'eval'
),

cut as (
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
    (select leaked.incidents from leaked) as eval_records_in_train,
    (select leaked.groups from leaked) as eval_records_kin_in_train,
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
