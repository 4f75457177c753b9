-- severity: error
-- reads: conversations, made by immune_data/emit/records.py
-- A record's answer is the text of an error that the model's service returned instead of an answer.
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
            '(?i)LLM query failed'
            || '|\A[^\pL\pN_]*(?:[\pL\pN_-]+ ){0,3}'
            || '(?:query|analysis|assessment|summary|summarization) failed\b'
            || '|Error code: \d{3}\b|insufficient_quota|<title>\s*[45]\d\d '
        ) as matches
    from conversations
)

select
    incident_id,
    task,
    split,
    line,
    model,
    matches[1] as error,
    -- The excerpt begins and ends at a word, unless the word is long.
    regexp_replace(
        substr(' ' || text || ' ', greatest(1, strpos(text, matches[1]) - 40), 122),
        '^\S{0,20}\s|\s\S{0,20}$', '', 'g'
    ) as excerpt
from found
where len(matches) > 0
order by split, line
