-- severity: error
-- reads: conversations, made by immune_data/emit/records.py
-- A record's answer contains a Markdown code fence, around it or inside.
with found as (
    select
        incident_id,
        task,
        split,
        line,
        model,
        messages[-1].content as text,
        regexp_extract_all(
            text,
            '```'
        ) as matches
    from conversations
)

select
    incident_id,
    task,
    split,
    line,
    model,
    ltrim(text, chr(10) || chr(13) || chr(9) || ' ') like '```%' as at_start,
    -- The excerpt begins and ends at a word, unless the word is long.
    regexp_replace(
        substr(' ' || text || ' ', greatest(1, strpos(text, matches[1]) - 40), 122),
        '^\S{0,20}\s|\s\S{0,20}$', '', 'g'
    ) as excerpt
from found
where len(matches) > 0
order by split, line
