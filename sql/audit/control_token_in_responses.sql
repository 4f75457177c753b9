-- severity: info
-- A response, chosen or not, contains one of the 22 tokens that Qwen2.5's tokenizer adds.
with found as (
    select
        incident_id,
        task,
        model,
        text,
        regexp_extract_all(
            text,
            '<\|(?:endoftext|im_start|im_end|object_ref_start|object_ref_end|box_start|box_end'
            || '|quad_start|quad_end|vision_start|vision_end|vision_pad|image_pad|video_pad'
            || '|fim_prefix|fim_middle|fim_suffix|fim_pad|repo_name|file_sep)\|>|</?tool_call>'
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
    list_distinct(found.matches) as tokens,
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
