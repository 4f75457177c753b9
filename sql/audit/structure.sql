-- severity: warn
-- reads: conversations, made by immune_data/emit/records.py
-- A record's answer lacks a part of its task's structure: a summary its header, events or threat
-- assessment; a cause analysis one of the three categories or the conclusion; a risk assessment
-- one of the five fields, or the allowed word for a level.
select
    incident_id,
    task,
    split,
    line,
    model,
    answer_lacks as missing
from conversations
where len(answer_lacks) > 0
order by split, line
