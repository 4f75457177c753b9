-- severity: warn
-- A text that would be published contains what looks like a secret: a key, a token or a password,
-- by their known forms. Only its beginning is shown.
with texts as (
    select
        incident_id,
        'dags: ' || dataset as place,
        text
    from dags
    union all
    select
        incident_id,
        'responses: ' || task || ', ' || model as place,
        text
    from responses
    union all
    select
        incident_id,
        'justifications: ' || task || ', ' || judge_run as place,
        text
    from justifications
    union all
    select
        incident_id,
        'rejects: ' || file || ', row ' || row as place,
        json as text
    from rejects
),

found as (
    select
        incident_id,
        place,
        unnest(
            list_distinct(
                regexp_extract_all(
                    text,
                    '\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}'
                    || '|\bgithub_pat_[A-Za-z0-9_]{22,}|\bglpat-[A-Za-z0-9_-]{20,}'
                    || '|\bxox[abeoprs]-[A-Za-z0-9-]{10,}|\bAIza[0-9A-Za-z_-]{35}'
                    || '|\bsk-[A-Za-z0-9_-]{20,}|\bhf_[A-Za-z0-9]{30,}'
                    || '|\b[rs]k_(?:live|test)_[0-9A-Za-z]{16,}|\bnpm_[A-Za-z0-9]{36}'
                    || '|\beyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}'
                    || '|-----BEGIN [A-Z ]*PRIVATE KEY-----'
                    || '|(?i:authorization:\s*(?:basic|bearer)\s+[a-z0-9+/=._~-]{8,})'
                    || '|(?i:\b(?:password|passwd|passphrase|pwd|secret|api[_-]?key'
                    || '|(?:access|auth|session)[_-]?(?:key|token))["'']?\s?[=:]\s?["'']?'
                    || '[^\s"''&;,<>\[\](){}]{6,})'
                    || '|(?i:\b[a-z][a-z0-9+.-]*://[^/\s:@]+:[^/\s:@]+@)'
                )
            )
        ) as secret
    from texts
),

emitted as (
    select distinct incident_id
    from sft_records
)

select
    found.incident_id,
    found.place,
    left(found.secret, 8) || '…' as begins,
    length(found.secret) as characters,
    emitted.incident_id is not null as emitted
from found
left join emitted on found.incident_id = emitted.incident_id
order by found.incident_id, found.place, found.secret
