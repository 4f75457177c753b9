-- severity: warn
-- reads: conversations, made by immune_data/emit/records.py
-- A part of the task's structure is missing from a record's answer: from a summary its header,
-- events or threat assessment; from a cause analysis one of the three categories or the conclusion;
-- from a risk assessment one of the five fields, or an allowed word for a level.
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
