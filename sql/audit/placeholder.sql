-- severity: error
-- reads: conversations, made by immune_data/emit/records.py
-- A record's answer repeats a placeholder from the prompt of its model.
with found as (
    select
        incident_id,
        task,
        split,
        line,
        model,
        -- For Python's `re`, which cleans answers, ı and İ are an i in another case.
        replace(replace(messages[-1].content, 'ı', 'i'), 'İ', 'i') as text,
        regexp_extract_all(
            text,
            '(?i)\bHH:MM\b|YOUR[ _]ASSESSED|\[your clear'
            || '|\[\s*(?:your )?clear (?:and concise )?(?:grouped )?summary'
            || '|\[specific attack technique|\[brief justification\]|\[description\]'
            || '|\[(?:source|dest(?:ination)?)[ _]ip\]'
        ) as matches
    from conversations
)

select
    incident_id,
    task,
    split,
    line,
    model,
    list_distinct(matches) as placeholders,
    -- The excerpt begins and ends at a word, unless the word is long.
    regexp_replace(
        substr(' ' || text || ' ', greatest(1, strpos(text, matches[1]) - 40), 122),
        '^\S{0,20}\s|\s\S{0,20}$', '', 'g'
    ) as excerpt
from found
where len(matches) > 0
order by split, line
