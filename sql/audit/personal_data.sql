-- severity: warn
-- A text that would be published contains personal data: an e-mail address, or the name of a user
-- in a URL. Only its beginning is shown.
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
                    '(?i)\b[a-z0-9._%+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,}\b'
                    || '|\b[a-z][a-z0-9+.-]*://[^/\s:@]+(?::[^/\s:@]*)?@'
                    || '|\b[a-z][a-z0-9+.-]*://[^\s?#]*/(?:~|home/|users/)[^\s/?#"''<>]+'
                    || '|[?&](?:user|username|user_?name|userid|user_id|login|uname|e?mail)='
                    || '[^\s&"''<>]+'
                )
            )
        ) as datum
    from texts
),

emitted as (
    select distinct incident_id
    from sft_records
)

select
    found.incident_id,
    found.place,
    case
        when starts_with(found.datum, '?') or starts_with(found.datum, '&') then 'user in a URL'
        when contains(found.datum, '://') then 'user in a URL'
        else 'e-mail address'
    end as kind,
    left(found.datum, 12) || '…' as begins,
    length(found.datum) as characters,
    emitted.incident_id is not null as emitted
from found
left join emitted on found.incident_id = emitted.incident_id
order by found.incident_id, found.place, found.datum
