-- severity: error
-- reads: conversations, made by immune_data/emit/records.py
-- A source incident is not accounted for on a task: it should have one account, which says where
-- its records are or why it has none, and agrees with the emitted conversations; and every row read
-- from a dataset should be an incident or a reject.
with owed as (
    select
        incidents.incident_id,
        tasks.task
    from incidents
    cross join unnest(['summary', 'cause', 'risk']) as tasks (task)
),

given as (
    select
        incident_id,
        task,
        count(*) as accounts,
        max(splits) as splits,
        max(records) as records,
        max(reason) as reason
    from accounts
    group by incident_id, task
),

emitted as (
    select
        incident_id,
        task,
        list(distinct split order by split) as splits,
        count(*) as records
    from conversations
    group by incident_id, task
),

compared as (
    select
        incident_id,
        task,
        case
            when owed.task is null then 'not a source incident'
            when given.task is null then 'no account'
            when given.accounts > 1 then 'more than one account'
            when emitted.task is null and given.records > 0 then 'its records are nowhere'
            when emitted.task is null and given.reason is null then 'no reason'
            when emitted.task is not null and given.reason is not null then 'emitted all the same'
            when given.splits <> emitted.splits then 'its records are in another split'
            when given.records <> emitted.records then 'another number of records'
        end as fault,
        given.splits as splits_in_account,
        emitted.splits as splits_emitted,
        given.reason
    from owed
    full outer join given using (incident_id, task)
    full outer join emitted using (incident_id, task)
),

held as (
    select
        count(*) filter (where in_summaries) as in_summaries,
        count(*) filter (where in_cause_risk) as in_cause_risk
    from incidents
),

taken as (
    select
        source_files.file,
        source_files.rows_read - source_files.rows_rejected as rows_taken,
        case source_files.role
            when 'summaries' then held.in_summaries
            when 'cause_risk' then held.in_cause_risk
        end as incidents
    from source_files
    cross join held
),

unaccounted as (
    select
        incident_id,
        task,
        fault,
        splits_in_account,
        splits_emitted,
        reason
    from compared
    where fault is not null
    union all
    select
        null as incident_id,
        null as task,
        file || ': ' || rows_taken || ' rows taken, ' || incidents || ' incidents' as fault,
        null as splits_in_account,
        null as splits_emitted,
        null as reason
    from taken
    where rows_taken <> incidents
)

select * from unaccounted
order by incident_id, task, fault
