-- risk_splits: one row per incident that passes the standalone gates.
-- reads: permutation, made by immune_data/select/orders.py
-- It has the incident's winners, its place in the permuted order, and its split (rule 8).
-- `permutation` is the order that scikit-learn's `train_test_split` draws for as many incidents:
-- eval first, then train. By hash, order and sides are those of `hashed_sides`, and a train
-- incident with the evidence of one in eval is left out (rule 15).
with passing as (
    select
        incident_id,
        cause_model,
        risk_model,
        cause_score,
        risk_score,
        row_number() over (order by ordinal) as ordinal,
        count(*) over () as incidents
    from risk_gates
    where passed
),

hashed as (
    select
        passing.incident_id,
        passing.cause_model,
        passing.risk_model,
        passing.cause_score,
        passing.risk_score,
        hashed_sides.digest,
        hashed_sides.side
    from passing
    inner join hashed_sides on passing.incident_id = hashed_sides.incident_id
    where hashed_sides.same_in_eval is null
),

risk_splits as (
    select
        passing.incident_id,
        passing.cause_model,
        passing.risk_model,
        passing.cause_score,
        passing.risk_score,
        permutation.position,
        case
            when
                permutation.position <= ceil(settings.standalone_eval_share * passing.incidents)
                then 'eval'
            else 'train'
        end as split
    from passing
    inner join permutation on passing.ordinal = permutation.ordinal
    cross join settings
    where settings.split_method <> 'hashed'
    union all
    select
        incident_id,
        cause_model,
        risk_model,
        cause_score,
        risk_score,
        row_number() over (order by digest, incident_id) as position,
        side as split
    from hashed
)

select * from risk_splits
order by position
