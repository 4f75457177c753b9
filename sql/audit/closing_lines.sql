-- severity: warn
-- reads: conversations, made by immune_data/emit/records.py
-- A summary's closing lines contradict those of the evidence shown: they have another total, or
-- another number for a severity. A missing severity counts as 0; evidence or summaries without such
-- lines contradict nothing.
with summaries as (
    select
        conversations.incident_id,
        conversations.task,
        conversations.split,
        conversations.line,
        conversations.model,
        conversations.answer_total_evidence as total_evidence,
        conversations.answer_severities as severities,
        array_to_string(
            [turn.content for turn in conversations.messages[:-2]],
            chr(10)
        ) as shown
    from conversations
    where conversations.task = 'summary'
),

-- The last one of several, as for derived closing lines (rule 14).
closing as (
    select
        incident_id,
        task,
        split,
        line,
        model,
        total_evidence,
        severities,
        regexp_extract_all(
            shown,
            '(?m)^Total Evidence: (\d{1,18}) events$',
            1
        )[-1]::bigint as total_shown,
        lower(
            regexp_extract_all(
                shown,
                '(?m)^Severity breakdown: (\w+: \d{1,18}(?:, \w+: \d{1,18})*)$',
                1
            )[-1]
        ) as breakdown_shown
    from summaries
),

counted as (
    select
        incident_id,
        task,
        split,
        line,
        model,
        total_evidence,
        total_shown,
        case
            when severities is not null
                then {
                    'critical': coalesce(severities['critical'], 0),
                    'high': coalesce(severities['high'], 0),
                    'medium': coalesce(severities['medium'], 0),
                    'low': coalesce(severities['low'], 0),
                    'info': coalesce(severities['info'], 0)
                }
        end as severities,
        case
            when breakdown_shown is not null
                then {
                    'critical': coalesce(
                        regexp_extract_all(breakdown_shown, '\bcritical: (\d+)', 1)[1]::bigint, 0
                    ),
                    'high': coalesce(
                        regexp_extract_all(breakdown_shown, '\bhigh: (\d+)', 1)[1]::bigint, 0
                    ),
                    'medium': coalesce(
                        regexp_extract_all(breakdown_shown, '\bmedium: (\d+)', 1)[1]::bigint, 0
                    ),
                    'low': coalesce(
                        regexp_extract_all(breakdown_shown, '\blow: (\d+)', 1)[1]::bigint, 0
                    ),
                    'info': coalesce(
                        regexp_extract_all(breakdown_shown, '\binfo: (\d+)', 1)[1]::bigint, 0
                    )
                }
        end as severities_shown
    from closing
)

select * from counted
where total_evidence <> total_shown or severities <> severities_shown
order by split, line
