-- read: one row per file with the incident: its role, and the row if it is known.
with files as (
    select
        source_files.file,
        source_files.role,
        null as row
    from source_files
    cross join incidents
    where
        incidents.incident_id = getvariable('incident')
        and (
            (incidents.in_summaries and source_files.role = 'summaries')
            or (incidents.in_cause_risk and source_files.role = 'cause_risk')
        )
    union all
    select distinct
        source_files.file,
        source_files.role,
        judgements.row
    from judgements
    inner join source_files on judgements.judge_run = source_files.file
    where judgements.incident_id = getvariable('incident')
)

select * from files
order by list_position(['summaries', 'cause_risk'], role) nulls last, file
