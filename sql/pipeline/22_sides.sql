-- sides: one row per side of the split, train and eval: its passing incidents, its records (train
-- with those of augmentation), its share of the passing incidents and the share that the recipe
-- asks for, whether the one is less than half or more than twice the other, and the reason why it
-- has no records: null if it has some, or none are asked for.
with placed as (
    select
        splits.incident_id,
        splits.split
    from splits
    cross join settings
    where settings.dataset = 'unified'
    union all
    select
        risk_splits.incident_id,
        risk_splits.split
    from risk_splits
    cross join settings
    where settings.dataset = 'risk'
),

wanted as (
    select if(dataset = 'risk', standalone_eval_share, eval_share) as eval_share
    from settings
),

asked_for as (
    select
        'train' as split,
        1 - eval_share as share_asked
    from wanted
    union all
    select
        'eval' as split,
        eval_share as share_asked
    from wanted
),

passing as (
    select count(*) as incidents
    from placed
),

counted as (
    select
        asked_for.split,
        asked_for.share_asked,
        count(placed.incident_id) as incidents
    from asked_for
    left join placed on asked_for.split = placed.split
    group by asked_for.split, asked_for.share_asked
),

emitted as (
    select
        split,
        count(*) as records
    from sft_records
    group by split
),

group_sizes as (
    select
        groups.group_id,
        count(*) as incidents
    from placed
    inner join groups on placed.incident_id = groups.incident_id
    group by groups.group_id
),

largest_group as (
    select
        max(incidents) as incidents,
        arg_min(group_id, { 'fewer': -incidents, 'group_id': group_id }) as group_id
    from group_sizes
),

-- The losses of incidents before the split: at the gates, and before them.
losses as (
    select
        string_agg(
            format('{} at {}', funnel.lost, funnel.step),
            ', ' order by funnel.lost desc, funnel.step asc
        ) as at_steps
    from funnel
    cross join settings
    where
        funnel.lost > 0
        and funnel.records is null
        and funnel.step <> 'risk train split'
        and starts_with(funnel.step, 'risk ') = (settings.dataset = 'risk')
),

sides as (
    select
        counted.split,
        counted.incidents,
        coalesce(emitted.records, 0) as records,
        counted.incidents / nullif(passing.incidents, 0) as share,
        counted.share_asked,
        coalesce(
            share < counted.share_asked / 2 or share > counted.share_asked * 2, false
        ) as uneven,
        case
            when emitted.records is not null or counted.share_asked = 0 then null
            when passing.incidents = 0 and losses.at_steps is null
                then if(
                    settings.dataset = 'risk',
                    'no incident of the cause and risk dataset was judged',
                    'no incident was read'
                )
            when passing.incidents = 0
                then format('no incident passes (lost: {})', losses.at_steps)
            when counted.incidents > 0
                then format(
                    'each of its incidents ({}) has a winner without an answer, or no evidence',
                    counted.incidents
                )
            when settings.dataset = 'unified' and settings.split_method = 'groups'
                then format(
                    'every passing incident ({}) is on the other side: {} of the group named '
                    'after {}, which stays on one side',
                    passing.incidents,
                    largest_group.incidents,
                    largest_group.group_id
                )
            when settings.split_method = 'hashed'
                then format(
                    'the hash of source IP and time window puts every passing incident ({}) on the '
                    'other side, and of few incidents another `split.key` may not',
                    passing.incidents
                )
            else format('every passing incident ({}) is on the other side', passing.incidents)
        end as reason
    from counted
    cross join passing
    cross join settings
    cross join losses
    left join emitted on counted.split = emitted.split
    cross join largest_group
)

select * from sides
order by split desc
