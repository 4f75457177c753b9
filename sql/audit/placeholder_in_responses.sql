-- severity: info
-- A response, chosen or not, repeats a placeholder from the prompt of its model.
with answers as (
    select
        incident_id,
        task,
        model,
        -- For Python's `re`, which cleans answers, ı and İ are an i in another case.
        replace(replace(text, 'ı', 'i'), 'İ', 'i') as text
    from responses
),

found as (
    select
        incident_id,
        task,
        model,
        text,
        regexp_extract_all(
            text,
            '(?i)\bHH:MM\b|YOUR[ _]ASSESSED|\[your clear'
            || '|\[\s*(?:your )?clear (?:and concise )?(?:grouped )?summary'
            || '|\[specific attack technique|\[brief justification\]|\[description\]'
            || '|\[(?:source|dest(?:ination)?)[ _]ip\]'
        ) as matches
    from answers
),

chosen as (
    select distinct
        incident_id,
        task,
        model
    from sft_records
)

select
    found.incident_id,
    found.task,
    found.model,
    chosen.model is not null as chosen,
    list_distinct(found.matches) as placeholders,
    -- The excerpt begins and ends at a word, unless the word is long.
    regexp_replace(
        substr(
            ' ' || found.text || ' ',
            greatest(1, strpos(found.text, found.matches[1]) - 40),
            122
        ),
        '^\S{0,20}\s|\s\S{0,20}$', '', 'g'
    ) as excerpt
from found
left join chosen using (incident_id, task, model)
where len(found.matches) > 0
order by found.incident_id, found.task, found.model
