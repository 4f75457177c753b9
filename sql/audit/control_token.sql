-- severity: error
-- reads: conversations, made by immune_data/emit/records.py
-- A message contains one of the 22 tokens that Qwen2.5's tokenizer adds to its vocabulary, written
-- out as text: a trainer that reads it as the token sees a turn begin or end where none does.
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
            '<\|(?:endoftext|im_start|im_end|object_ref_start|object_ref_end|box_start|box_end'
            || '|quad_start|quad_end|vision_start|vision_end|vision_pad|image_pad|video_pad'
            || '|fim_prefix|fim_middle|fim_suffix|fim_pad|repo_name|file_sep)\|>|</?tool_call>'
        ) as matches
    from texts
)

select
    incident_id,
    task,
    split,
    line,
    role,
    list_distinct(matches) as tokens,
    len(matches) as occurrences,
    -- The excerpt begins and ends at a word, unless the word is long.
    regexp_replace(
        substr(' ' || content || ' ', greatest(1, strpos(content, matches[1]) - 40), 122),
        '^\S{0,20}\s|\s\S{0,20}$', '', 'g'
    ) as excerpt
from found
where len(matches) > 0
order by split, line, role
