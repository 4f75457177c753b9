-- severity: info
-- A response, chosen or not, contains zero-width or bidirectional characters.
with found as (
    select
        incident_id,
        task,
        model,
        text,
        regexp_extract_all(
            text,
            '[\x{ad}\x{34f}\x{61c}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}'
            || '\x{200b}-\x{200f}\x{202a}-\x{202e}'
            || '\x{2060}-\x{206f}\x{3164}\x{fe00}-\x{fe0f}\x{feff}\x{ffa0}'
            || '\x{fff9}-\x{fffb}\x{e0000}-\x{e0fff}]'
        ) as matches,
        [printf('U+%04X', unicode(match)) for match in list_sort(list_distinct(matches))] as hidden
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
    found.hidden,
    len(found.matches) as occurrences,
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
