-- severity: info
-- A response, chosen or not, contains a Markdown code fence, around it or inside.
with found as (
    select
        incident_id,
        task,
        model,
        text,
        regexp_extract_all(
            text,
            '```'
        ) as matches
    from responses
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
    ltrim(found.text, chr(10) || chr(13) || chr(9) || ' ') like '```%' as at_start,
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
