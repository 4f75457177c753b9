-- severity: warn
-- The evidence of an emitted incident contains text that addresses a language model ("ignore
-- previous instructions" and the like): the attacker may be talking to the model.
with evidence as (
    select
        incident_id,
        dataset,
        text
    from dags
    union all
    select
        incidents.incident_id,
        'facts' as dataset,
        concat_ws(
            chr(10),
            incidents.category,
            incidents.source_ip,
            incidents.timewindow,
            incidents.timeline
        ) as text
    from incidents
),

found as (
    select
        incident_id,
        dataset,
        text,
        regexp_extract(
            text,
            '(?i)\b(?:ignore|disregard|forget|override|bypass|overlook)\s+(?:\w+\s+){0,3}'
            || '(?:previous|prior|above|earlier|preceding|foregoing|system|your)\s+(?:\w+\s+){0,2}'
            || '(?:instruction|prompt|rule|direction|command|guideline|context|message|task)'
            || '|\b(?:new|updated|real|actual|additional)\s+instructions?\s*:'
            || '|\byou\s+are\s+(?:now|no\s+longer)\b|\bpretend\s+(?:to\s+be|you|that)\b'
            || '|\bas\s+an?\s+(?:ai|large\s+language)\b'
            || '|\b(?:system|developer)\s+(?:prompt|message)\b'
            || '|\bdo\s+anything\s+now\b|\bjailbr(?:eak|oken)|\bdear\s+(?:ai|llm|model|assistant)\b'
            || '|\b(?:classify|label|mark|rate|report|treat|flag)\s+(?:\w+\s+){0,4}as\s+'
            || '(?:benign|normal|safe|harmless|legitimate|low|info)\b'
            || '|\bdo\s+not\s+(?:report|mention|flag|alert|summari[sz]e|tell|reveal)\b'
            || '|\b(?:respond|reply|answer|output)\s+(?:only|exactly|with)\b'
            || '|(?m:^)\s*(?:system|assistant)\s*:|\[/?INST\]|<</?SYS>>'
            || '|###\s*(?:instruction|system)'
        ) as phrase
    from evidence
),

-- Texts are searched first and joined when only a few are left.
matches as (
    select
        incident_id,
        dataset,
        phrase,
        -- The excerpt begins and ends at a word, unless the word is long.
        regexp_replace(
            substr(
                ' ' || text || ' ',
                greatest(1, strpos(text, phrase) - 60),
                162 + length(phrase)
            ),
            '^\S{0,20}\s|\s\S{0,20}$', '', 'g'
        ) as excerpt
    from found
    where phrase <> ''
),

used as (
    select
        incident_id,
        dag_dataset as dataset
    from sft_records
    union
    select
        incident_id,
        'facts' as dataset
    from sft_records
)

select
    matches.incident_id,
    matches.dataset,
    matches.phrase,
    matches.excerpt
from matches
semi join used
    on
        matches.incident_id = used.incident_id
        and matches.dataset = used.dataset
order by matches.incident_id, matches.dataset
