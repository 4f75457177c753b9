-- A record's answer misses a part of its task's structure: a summary its header, events or
-- severity breakdown; a cause analysis one of the three categories or the conclusion; a risk
-- assessment one of the five fields, or the allowed word for a level.
-- severity: warn
with answers as (
    select
        split,
        line,
        task,
        lower(messages[-1].content) as answer
    from conversations
),

parts as (
    select
        parts.task,
        unnest(parts.words) as part
    from (
        values
        (
            'summary',
            [
                'incident:', 'source ip:', 'timewindow:', 'timeline:', 'threat level:', 'events:',
                'severity breakdown'
            ]
        ),
        (
            'cause',
            ['malicious activity', 'legitimate activity', 'misconfiguration', 'conclusion']
        ),
        (
            'risk',
            [
                'risk level', 'justification', 'business impact',
                'likelihood of malicious activity', 'investigation priority'
            ]
        )
    ) as parts (task, words)
),

levels as (
    select
        split,
        line,
        regexp_extract(answer, 'risk level[^a-z\n]*([a-z]+)', 1) as level,
        regexp_extract(
            answer, 'likelihood of malicious activity[^a-z\n]*([a-z]+)', 1
        ) as likelihood,
        regexp_extract(answer, 'investigation priority[^a-z\n]*([a-z]+)', 1) as priority
    from answers
    where task = 'risk'
),

findings as (
    select
        answers.split,
        answers.line,
        parts.part as missing
    from answers
    inner join parts on answers.task = parts.task
    where not contains(answers.answer, parts.part)
    union all
    select
        split,
        line,
        'events' as missing
    from answers
    where task = 'summary' and not regexp_matches(answer, '(?m:^)\s*(?:[•*-]|\d+\.)\s')
    union all
    select
        split,
        line,
        'a level for: risk level' as missing
    from levels
    where level not in ('critical', 'high', 'medium', 'low')
    union all
    select
        split,
        line,
        'a level for: likelihood of malicious activity' as missing
    from levels
    where likelihood not in ('high', 'medium', 'low')
    union all
    select
        split,
        line,
        'a level for: investigation priority' as missing
    from levels
    where priority not in ('immediate', 'high', 'medium', 'low')
),

by_record as (
    select
        split,
        line,
        list(missing order by missing) as missing
    from findings
    group by split, line
)

select
    sft_records.incident_id,
    sft_records.task,
    by_record.split,
    by_record.line,
    sft_records.model,
    by_record.missing
from by_record
inner join sft_records
    on
        by_record.split = sft_records.split
        and by_record.line = sft_records.line
order by by_record.split, by_record.line
