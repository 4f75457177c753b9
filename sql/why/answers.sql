-- answers: one row per task and model that answered or was judged.
-- reads: cleaning, made by immune_data/select/cleaning.py
-- It has the answer's measures as it would be emitted, and the cleaning rules with an effect on it.
with rules as (
    select
        task,
        model,
        list(rule order by rule) filter (where effect = 'changed') as changed_by
    from cleaning
    where incident_id = getvariable('incident')
    group by task, model
)

select
    candidates.task,
    candidates.model,
    candidates.place,
    candidates.answered,
    candidates.tokens,
    candidates.words,
    candidates.chars4,
    candidates.risk_level,
    candidates.refused_by,
    coalesce(rules.changed_by, []) as changed_by
from candidates
left join rules using (task, model)
where candidates.incident_id = getvariable('incident')
order by
    list_position(['summary', 'cause', 'risk'], candidates.task),
    candidates.place nulls last,
    candidates.model
