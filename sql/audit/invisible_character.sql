-- severity: warn
-- reads: conversations, made by immune_data/emit/records.py
-- A message contains zero-width or bidirectional characters: a model learns something else from it
-- than a reader sees.
with texts as (
    select
        incident_id,
        task,
        split,
        line,
        unnest(messages) as message
    from conversations
),

found as (
    select
        texts.incident_id,
        texts.task,
        texts.split,
        texts.line,
        texts.message.role,
        texts.message.content,
        regexp_extract_all(
            texts.message.content,
            '[\x{ad}\x{34f}\x{61c}\x{115f}\x{1160}\x{17b4}\x{17b5}\x{180b}-\x{180f}'
            || '\x{200b}-\x{200f}\x{202a}-\x{202e}'
            || '\x{2060}-\x{206f}\x{3164}\x{fe00}-\x{fe0f}\x{feff}\x{ffa0}'
            || '\x{fff9}-\x{fffb}\x{e0000}-\x{e0fff}]'
        ) as matches
    from texts
)

select
    incident_id,
    task,
    split,
    line,
    role,
    [printf('U+%04X', unicode(hidden)) for hidden in list_sort(list_distinct(matches))] as hidden,
    len(matches) as occurrences,
    -- The excerpt begins and ends at a word, unless the word is long.
    regexp_replace(
        substr(' ' || content || ' ', greatest(1, strpos(content, matches[1]) - 40), 122),
        '^\S{0,20}\s|\s\S{0,20}$', '', 'g'
    ) as excerpt
from found
where len(matches) > 0
order by split, line, role
