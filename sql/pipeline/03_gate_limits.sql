-- gate_limits: one row per gate of either dataset, in the order in which they are applied.
-- A gate checks a `measure` of the answers to its task: a score or a length (in `unit`), which must
-- be from `least` to `most`; `cleaning`, which must not refuse an answer; or a `level`, which must
-- be named. `threshold` says that in words; `required` is whether the recipe has the gate (rules 4
-- and 8).
with listed as (
    select
        ordered.gate,
        ordered.place,
        string_split(ordered.gate, '_')[1] as task,
        string_split(ordered.gate, '_')[2] as measure
    from
        unnest(
            [
                'summary_score', 'cause_score', 'risk_score',
                'summary_cleaning', 'cause_cleaning', 'risk_cleaning',
                'summary_length', 'cause_length', 'risk_length', 'risk_level'
            ]
        ) with ordinality as ordered (gate, place)
),

of_datasets as (
    select
        'unified' as dataset,
        listed.*
    from listed
    union all
    select
        'standalone' as dataset,
        listed.*
    from listed
    where listed.task <> 'summary'
),

scores as (
    select
        unnest(['summary', 'cause', 'risk']) as task,
        unnest([summary_score_min, cause_total_min, risk_total_min]) as least
    from settings
),

lengths as (
    select
        'unified' as dataset,
        unnest(['summary', 'cause', 'risk']) as task,
        unnest([summary_length_min, cause_length_min, risk_length_min]) as least,
        unnest([summary_length_max, cause_length_max, risk_length_max]) as most,
        unnest([summary_length_unit, cause_length_unit, risk_length_unit]) as unit
    from settings
    union all
    select
        'standalone' as dataset,
        unnest(['cause', 'risk']) as task,
        unnest([standalone_cause_length_min, standalone_risk_length_min]) as least,
        unnest([standalone_cause_length_max, standalone_risk_length_max]) as most,
        unnest([standalone_cause_length_unit, standalone_risk_length_unit]) as unit
    from settings
),

gate_limits as (
    select
        of_datasets.dataset,
        of_datasets.place,
        of_datasets.gate,
        of_datasets.task,
        of_datasets.measure,
        coalesce(scores.least, lengths.least) as least,
        lengths.most,
        lengths.unit,
        case of_datasets.measure
            when 'score' then format('at least {:g}', scores.least)
            when 'cleaning' then 'not refused'
            when 'length' then format('{} to {} {}', lengths.least, lengths.most, lengths.unit)
            when 'level' then 'Critical, High, Medium or Low'
        end as threshold,
        case of_datasets.measure
            when 'cleaning' then settings.answers_cleaned
            when 'level' then settings.risk_level_required
            else true
        end as required
    from of_datasets
    cross join settings
    left join scores
        on
            of_datasets.measure = 'score'
            and of_datasets.task = scores.task
    left join lengths
        on
            of_datasets.measure = 'length'
            and of_datasets.dataset = lengths.dataset
            and of_datasets.task = lengths.task
)

select * from gate_limits
order by dataset desc, place asc
