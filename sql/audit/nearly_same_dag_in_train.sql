-- An eval incident has nearly the DAG of another incident that is in train: of the distinct lines
-- of both, with addresses, ids and numbers masked, as great a share is common as the recipe's
-- `audit.dag_resemblance` says or a greater one, and the texts are not the same. One row per eval
-- incident, with the most alike train incident and how many there are.
-- severity: warn
with used as (
    select distinct
        split,
        incident_id,
        dag_dataset
    from sft_records
),

masked as (
    select
        dags.incident_id,
        dags.dataset,
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
        ) as lines
    from dags
    semi join used on dags.incident_id = used.incident_id and dags.dataset = used.dag_dataset
),

-- Many DAGs are the same once they are masked: each set of lines is looked at once.
shapes as (
    select
        hash(masked.lines) as shape,
        any_value(masked.lines) as lines,
        bool_or(used.split = 'eval') as in_eval,
        bool_or(used.split = 'train') as in_train
    from masked
    inner join used on masked.incident_id = used.incident_id and masked.dataset = used.dag_dataset
    group by shape
),

-- The lines of a shape, the rarest first. Two shapes that resemble each other by the bound have one
-- of the first few in common, not too late in either: such pairs alone are compared line by line.
elements as (
    select
        shape,
        in_eval,
        in_train,
        len(lines) as size,
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
        elements.*,
        row_number() over (
            partition by elements.shape
            order by frequencies.frequency, elements.line
        ) as place
    from elements
    inner join frequencies on elements.line = frequencies.line
),

prefixes as (
    select
        ranked.*,
        settings.audit_dag_resemblance as bound
    from ranked
    cross join settings
    where ranked.place <= ranked.size - ceil(settings.audit_dag_resemblance * ranked.size) + 1
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

members as (
    select
        used.split,
        used.incident_id,
        hash(masked.lines) as shape,
        dags.text_sha256
    from used
    inner join masked on used.incident_id = masked.incident_id and used.dag_dataset = masked.dataset
    inner join dags on used.incident_id = dags.incident_id and used.dag_dataset = dags.dataset
),

alike as (
    select
        held.incident_id,
        count(*) as train_incidents,
        max(
            { 'resemblance': resemblances.resemblance, 'incident_id': train.incident_id }
        ) as most_alike
    from members as held
    inner join resemblances on held.shape = resemblances.eval_shape
    inner join members as train on resemblances.train_shape = train.shape
    where
        held.split = 'eval'
        and train.split = 'train'
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
