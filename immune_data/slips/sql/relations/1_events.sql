-- events: one row per event: the line that counts. If several lines give the same id to different
-- events, it is the one whose bytes have the smallest digest, wherever it is.
with lines as (
    select arg_min(n, row(dialect, digest, n)) as n
    from read_events
    group by event_id
)

select
    read_events.n,
    read_events.file,
    read_events.line,
    read_events.digest,
    read_events.dialect,
    read_events.event_id,
    read_events.instant,
    read_events.window_number,
    read_events.attacker,
    read_events.spool_begin,
    read_events.spool_length
from read_events
semi join lines on read_events.n = lines.n
