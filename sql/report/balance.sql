-- balance: one row per property of a record, its value and split: how many records have it.
-- reads: conversations, made by immune_data/emit/records.py
with labelled as (
    select
        conversations.split,
        conversations.task,
        conversations.model,
        conversations.origin,
        coalesce(incidents.category, 'not given') as category,
        if(
            conversations.task = 'risk', coalesce(candidates.risk_level, 'none'), null
        ) as level
    from conversations
    inner join incidents on conversations.incident_id = incidents.incident_id
    left join candidates
        on
            conversations.incident_id = candidates.incident_id
            and conversations.task = candidates.task
            and conversations.model = candidates.model
),

properties as (
    unpivot labelled on task, model, origin, category, level into name property value value
)

select
    property,
    value,
    split,
    count(*) as records
from properties
group by property, value, split
order by property asc, value asc, split desc
