-- A summary states another number of events than its incident has.
-- severity: warn
with stated as (
    select
        incident_id,
        task,
        split,
        line,
        model,
        regexp_extract(
            messages[-1].content, '(?i)\bevents\W{0,6}:\W{0,6}(\d+(?:,\d{3})*)', 1
        ) as header,
        regexp_extract(
            messages[-1].content, '(?i)\btotal evidence\W{0,8}(\d+(?:,\d{3})*)', 1
        ) as total
    from conversations
    where task = 'summary'
),

numbers as (
    select
        stated.incident_id,
        stated.task,
        stated.split,
        stated.line,
        stated.model,
        try_cast(replace(stated.header, ',', '') as bigint) as events_in_header,
        try_cast(replace(stated.total, ',', '') as bigint) as total_evidence,
        incidents.event_count
    from stated
    inner join incidents on stated.incident_id = incidents.incident_id
)

select * from numbers
where events_in_header <> event_count or total_evidence <> event_count
order by split, line
