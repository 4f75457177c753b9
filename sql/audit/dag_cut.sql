-- severity: info
-- reads: conversations, made by immune_data/emit/records.py
-- A record does not show the whole DAG: its answer may be based on evidence that the model never
-- sees.
select
    incident_id,
    task,
    split,
    line,
    dag_tokens,
    dag_tokens_shown,
    round(1 - dag_tokens_shown / dag_tokens, 4) as share_cut
from conversations
where dag_truncated
order by share_cut desc, split asc, line asc
