-- chosen: one row per incident that is written, with its stratum: those since `since`, and if there
-- is a sample size, equally many of each category and tier if possible. The seed determines which;
-- hosts and captures contribute at most their limits.
with since as (
    select
        counted.incident_id,
        counted.capture,
        counted.category,
        counted.host,
        sha256(settings.seed || '\n' || counted.incident_id) as chance,
        (
            select count(*)
            from (select unnest(settings.tiers) as most) as limits
            where counted.event_count > limits.most
        ) as tier
    from counted
    cross join settings
    where settings.since is null or counted.written_instant >= settings.since
),

of_hosts as (
    select since.*
    from since
    cross join settings
    qualify
        settings.per_host is null
        or row_number() over (
            partition by since.capture, since.host order by since.chance
        ) <= settings.per_host
),

of_captures as (
    select of_hosts.*
    from of_hosts
    cross join settings
    qualify
        settings.per_capture is null
        or row_number() over (
            partition by of_hosts.capture order by of_hosts.chance
        ) <= settings.per_capture
),

in_turn as (
    select
        *,
        row_number() over (partition by category, tier order by chance) as turn
    from of_captures
),

drawn as (
    select
        incident_id,
        row_number() over (order by turn, chance) as draw
    from in_turn
)

select
    in_turn.incident_id,
    in_turn.category,
    in_turn.tier
from in_turn
inner join drawn on in_turn.incident_id = drawn.incident_id
cross join settings
where settings.sample is null or drawn.draw <= settings.sample
