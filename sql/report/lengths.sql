-- lengths: one row per task and span of 256 tokens (from, excluded, to) that conversations end in.
-- reads: conversations, made by immune_data/emit/records.py
select
    task,
    (tokens - 1) // 256 * 256 as tokens_from,
    count(*) as records
from conversations
group by task, tokens_from
order by list_position(['summary', 'cause', 'risk'], task) asc, tokens_from asc
