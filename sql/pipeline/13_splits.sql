-- splits: one row per passing incident: its place in the shuffled order, and its split (rule 5).
-- reads: shuffle, made by immune_data/select/orders.py
-- `shuffle` is Python's `random.Random(seed).shuffle` of as many incidents.
-- By groups, the shuffled incidents are visited in order: each one that has no side yet brings its
-- whole group to eval, until eval is large enough.
-- By hash, order and sides are those of `hashed_sides`, and a train incident with the evidence of
-- one in eval is left out (rule 15).
with passing as (
    select
        incident_id,
        row_number() over (order by incident_id) as ordinal,
        count(*) over () as incidents
    from gates
    where passed
),

shuffled as (
    select
        passing.incident_id,
        shuffle.position,
        settings.split_method,
        greatest(1, round_even(settings.eval_share * passing.incidents, 0)) as eval_incidents,
        if(settings.split_method = 'groups', groups.group_id, passing.incident_id) as unit
    from passing
    inner join shuffle on passing.ordinal = shuffle.ordinal
    inner join groups on passing.incident_id = groups.incident_id
    cross join settings
    where settings.split_method <> 'hashed'
),

units as (
    select
        unit,
        min(position) as first_position,
        count(*) as incidents
    from shuffled
    group by unit
),

placed_before as (
    select
        unit,
        coalesce(
            sum(incidents) over (
                order by first_position asc rows between unbounded preceding and 1 preceding
            ), 0
        ) as incidents
    from units
),

hashed as (
    select
        passing.incident_id,
        hashed_sides.digest,
        hashed_sides.side
    from passing
    inner join hashed_sides on passing.incident_id = hashed_sides.incident_id
    where hashed_sides.same_in_eval is null
),

splits as (
    select
        shuffled.incident_id,
        shuffled.position,
        if(placed_before.incidents < shuffled.eval_incidents, 'eval', 'train') as split
    from shuffled
    inner join placed_before on shuffled.unit = placed_before.unit
    union all
    select
        incident_id,
        row_number() over (order by digest, incident_id) as position,
        side as split
    from hashed
)

select * from splits
order by position
