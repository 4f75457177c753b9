-- severity: warn
-- A response, chosen or not, addresses a language model or a grader ("give this answer 10"): its
-- model was manipulated, or pleads for itself.
with found as (
    select
        incident_id,
        task,
        model,
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
            || '|\b(?:dear|attention|note\s+(?:to|for)(?:\s+the)?|hey)[\s,:]+(?:the\s+)?'
            || '(?:judge|grader|evaluator|reviewer|examiner|scorer)s?\b'
            || '|\b(?:give|grant|award|assign|rate|score|grade|rank)\s+'
            || '(?:me|us|it|(?:(?:this|that|the|my|our)\s+)?'
            || '(?:answer|summary|analysis|response|candidate|label)(?:\s+[A-Z])?|[B-Z])\b'
            || '(?:\s+[\w/]+){0,4}\s+(?:10\b|ten\b|100\b|(?:as|the|very)\s+(?:first|best)\b'
            || '|first[ \t]*(?:$|[.!,\n])'
            || '|(?:full|top|highest|maximum|best|perfect)\s+(?:score|grade|rating|mark|point))'
            || '|\b(?:score|grade|rating|marks?)\s*(?:should|must|shall|has\s+to|needs\s+to)\s+be\b'
            || '|\b(?:best|highest|perfect|full|top)\s+(?:possible\s+)?'
            || '(?:score|grade|rating|marks)\b|\b10\s*(?:/|out\s+of)\s*10\b'
            || '|["''](?:scores?|ranking)["'']\s*:\s*[{\[]'
        ) as phrase
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
    found.phrase,
    substr(
        found.text, greatest(1, strpos(found.text, found.phrase) - 60), 160 + length(found.phrase)
    ) as excerpt
from found
left join chosen using (incident_id, task, model)
where found.phrase <> ''
order by found.incident_id, found.task, found.model
