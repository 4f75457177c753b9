-- severity: warn
-- reads: conversations, made by immune_data/emit/records.py
-- A summary states another number of events than its incident has.
with numbers as (
    select
        conversations.incident_id,
        conversations.task,
        conversations.split,
        conversations.line,
        conversations.model,
        conversations.answer_events as events_in_header,
        conversations.answer_total_evidence as total_evidence,
        incidents.event_count
    from conversations
    inner join incidents on conversations.incident_id = incidents.incident_id
    where conversations.task = 'summary'
)

select * from numbers
where events_in_header <> event_count or total_evidence <> event_count
order by split, line
