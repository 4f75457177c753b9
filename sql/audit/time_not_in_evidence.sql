-- severity: warn
-- reads: conversations, made by immune_data/emit/records.py
-- A summary's bullet states a time, HH:MM, that is not in the span of any event in the evidence
-- shown and is neither end of its timeline. The ends of a span belong to it, and the one that comes
-- first after the start of the timeline is its start: so this is also right over midnight.
with summaries as (
    select
        conversations.incident_id,
        conversations.task,
        conversations.split,
        conversations.line,
        conversations.model,
        array_to_string(
            regexp_extract_all(
                conversations.messages[-1].content,
                '(?m)^[ \t]*(?:[•*-]|\d+[.)])[ \t]+.*$'
            ),
            chr(10)
        ) as bullets,
        array_to_string(
            [turn.content for turn in conversations.messages[:-2]],
            chr(10)
        ) as shown
    from conversations
    where conversations.task = 'summary'
),

timelines as (
    select
        incident_id,
        regexp_extract_all(
            timeline,
            '(?:^|[^0-9:])((?:[01]\d|2[0-3]):[0-5]\d)',
            1
        ) as ends
    from incidents
),

-- A time is not part of a MAC or IP address, nor of a port after one.
words as (
    select
        incident_id,
        task,
        split,
        line,
        model,
        unnest(list_distinct(regexp_extract_all(bullets, '[0-9A-Za-z.:]+'))) as word
    from summaries
),

times as (
    select distinct
        incident_id,
        task,
        split,
        line,
        model,
        word[:5] as time
    from words
    where
        regexp_full_match(
            word,
            '(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?(?::|\.+)?'
        )
),

-- In minutes from the start of the timeline, or from midnight if there is none.
stated as (
    select
        times.incident_id,
        times.task,
        times.split,
        times.line,
        times.model,
        times.time,
        (
            epoch(times.time::time) - epoch(coalesce(timelines.ends[1], '00:00')::time) + 86400
        )::bigint // 60 % 1440 as minute
    from times
    inner join timelines on times.incident_id = timelines.incident_id
),

written as (
    select
        incident_id,
        split,
        line,
        unnest(
            list_distinct(
                regexp_extract_all(
                    shown,
                    '(?m)^• ((?:[01]\d|2[0-3]):[0-5]\d(?:-(?:[01]\d|2[0-3]):[0-5]\d)?) - ',
                    1
                )
            )
        ) as span
    from summaries
),

ends as (
    select
        written.split,
        written.line,
        (
            epoch(written.span[:5]::time)
            - epoch(coalesce(timelines.ends[1], '00:00')::time)
            + 86400
        )::bigint // 60 % 1440 as one_end,
        (
            epoch(written.span[-5:]::time)
            - epoch(coalesce(timelines.ends[1], '00:00')::time)
            + 86400
        )::bigint // 60 % 1440 as other_end
    from written
    inner join timelines on written.incident_id = timelines.incident_id
),

spans as (
    select
        split,
        line,
        least(one_end, other_end) as first_minute,
        greatest(one_end, other_end) as last_minute
    from ends
),

in_no_span as (
    select stated.*
    from stated
    anti join spans
        on
            stated.split = spans.split
            and stated.line = spans.line
            and stated.minute >= spans.first_minute
            and stated.minute <= spans.last_minute
)

select
    in_no_span.incident_id,
    in_no_span.task,
    in_no_span.split,
    in_no_span.line,
    in_no_span.model,
    in_no_span.time
from in_no_span
inner join timelines on in_no_span.incident_id = timelines.incident_id
where not list_contains(timelines.ends, in_no_span.time)
order by in_no_span.split, in_no_span.line, in_no_span.time
