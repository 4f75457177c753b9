-- severity: warn
-- An eval incident has nearly the same DAG as another incident that is in train: of the distinct
-- lines of both, with addresses, ids and numbers masked, at least the share in the recipe's
-- `audit.dag_resemblance` is common, and the texts are not the same. One row per eval incident,
-- with the most similar train incident and how many there are.
with emitted as (
    select
        incident_id,
        dag_dataset,
        bool_or(split = 'eval') as in_eval,
        bool_or(split = 'train') as in_train
    from sft_records
    group by incident_id, dag_dataset
),

-- Through one list, so that DuckDB plans the result as few rows: these are kept in memory while the
-- DAGs' texts are scanned, and never the other way round.
used as (
    select unnest(list(emitted), recursive := true) from emitted
),

-- From here on, lines are represented by their hashes.
masked as materialized (
    select
        dags.incident_id,
        dags.text_sha256,
        list_sort(
            list_distinct(
                [
                    hash(line)  -- noqa: RF02
                    for line in string_split(
                        regexp_replace(
                            dags.text,
                            '[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}'
                            || '|[0-9a-fA-F]*(?::[0-9a-fA-F]*){2,}|[0-9]+(?:[.,:][0-9]+)*',
                            '#',
                            'g'
                        ),
                        chr(10)
                    )
                ]
            )
        ) as lines,
        used.in_eval,
        used.in_train
    from dags
    inner join used on dags.incident_id = used.incident_id and dags.dataset = used.dag_dataset
),

-- Many DAGs are the same once they are masked: each set of lines is compared once.
shapes as materialized (
    select
        hash(lines) as shape,
        any_value(lines) as lines,
        bool_or(in_eval) as in_eval,
        bool_or(in_train) as in_train
    from masked
    group by shape
),

-- Two shapes that resemble each other by the bound have one of the first few lines of each in
-- common, the rarest first, not too late in either; and few lines are in only one of them, which 64
-- bits per shape show: a bit that is set in only one of them is such a line.
elements as (
    select
        shape,
        unnest(lines) as line
    from shapes
),

frequencies as (
    select
        line,
        count(*) as frequency
    from elements
    group by line
),

ranked as (
    select
        elements.shape,
        elements.line,
        row_number() over (
            partition by elements.shape
            order by frequencies.frequency, elements.line
        ) as place
    from elements
    inner join frequencies on elements.line = frequencies.line
),

signatures as (
    select
        shape,
        count(*) as size,
        bit_or(1::ubigint << (line % 64)) as bits
    from elements
    group by shape
),

prefixes as materialized (
    select
        ranked.shape,
        ranked.line,
        ranked.place,
        signatures.size,
        signatures.bits,
        shapes.in_eval,
        shapes.in_train,
        settings.audit_dag_resemblance as bound
    from ranked
    inner join signatures on ranked.shape = signatures.shape
    inner join shapes on ranked.shape = shapes.shape
    cross join settings
    where ranked.place <= signatures.size - ceil(bound * signatures.size) + 1
),

pairs as (
    select distinct
        held.shape as eval_shape,
        train.shape as train_shape
    from prefixes as held
    inner join prefixes as train
        on
            held.line = train.line
            and train.size >= held.bound * held.size
            and train.size <= held.size / held.bound
            and 1 + least(held.size - held.place, train.size - train.place)
            >= held.bound / (1 + held.bound) * (held.size + train.size) - 1e-6
            and bit_count(xor(held.bits, train.bits))
            <= (1 - held.bound) / (1 + held.bound) * (held.size + train.size) + 1e-6
    where held.in_eval and train.in_train
),

resemblances as (
    select
        pairs.eval_shape,
        pairs.train_shape,
        len(list_intersect(held.lines, train.lines)) as common,
        common / (len(held.lines) + len(train.lines) - common) as resemblance
    from pairs
    inner join shapes as held on pairs.eval_shape = held.shape
    inner join shapes as train on pairs.train_shape = train.shape
    cross join settings
    where resemblance >= settings.audit_dag_resemblance
),

alike as (
    select
        held.incident_id,
        count(*) as train_incidents,
        max(
            { 'resemblance': resemblances.resemblance, 'incident_id': train.incident_id }
        ) as most_alike
    from masked as held
    inner join resemblances on hash(held.lines) = resemblances.eval_shape
    inner join masked as train on resemblances.train_shape = hash(train.lines)
    where
        held.in_eval
        and train.in_train
        and held.incident_id <> train.incident_id
        and held.text_sha256 <> train.text_sha256
    group by held.incident_id
)

select
    alike.incident_id,
    alike.most_alike.incident_id as train_incident_id,
    round(alike.most_alike.resemblance, 4) as resemblance,
    alike.train_incidents
from alike
order by alike.most_alike.resemblance desc, alike.incident_id asc
