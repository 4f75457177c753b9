-- risk_splits: one row per incident that passes the standalone gates.
-- reads: permutation, made by immune_data/select/orders.py
-- It holds the incident's winner, its place in the permuted order, and its split (rule 8).
-- `permutation` is the order that scikit-learn's `train_test_split` draws for as many incidents:
-- eval first, then train.
with passing as (
    select
        incident_id,
        model,
        cause_score,
        risk_score,
        row_number() over (order by ordinal) as ordinal,
        count(*) over () as incidents
    from risk_gates
    where passed
),

risk_splits as (
    select
        passing.incident_id,
        passing.model,
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
)

select * from risk_splits
order by position
