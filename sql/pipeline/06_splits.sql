-- splits: one row per passing incident: its place in the shuffled order, and its split (rule 5).
-- `shuffle` is Python's `random.Random(seed).shuffle` of as many incidents, made before this file.
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
        passing.incidents,
        shuffle.position
    from passing
    inner join shuffle on passing.ordinal = shuffle.ordinal
),

splits as (
    select
        shuffled.incident_id,
        shuffled.position,
        case
            when
                shuffled.position
                <= greatest(1, round_even(settings.eval_share * shuffled.incidents, 0))
                then 'eval'
            else 'train'
        end as split
    from shuffled
    cross join settings
)

select * from splits
order by position
