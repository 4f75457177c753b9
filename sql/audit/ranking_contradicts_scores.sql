-- severity: warn
-- A judge ranks a model above another one to which it gives the higher score. One row per verdict,
-- with the number of such pairs of models, and the pair that is furthest apart.
with verdicts as (
    select
        incident_id,
        judge_run,
        if(task = 'summary', 'summary', 'cause and risk') as judged_on,
        model,
        min(rank) as rank,
        sum(score) as score,
        count(*) as tasks
    from judgements
    group by incident_id, judge_run, judged_on, model
),

pairs as (
    select
        upper.incident_id,
        upper.judge_run,
        upper.judged_on,
        {
            'apart': lower.score - upper.score,
            'ranked_above': upper.model,
            'rank': upper.rank,
            'score': upper.score,
            'ranked_below': lower.model,
            'rank_below': lower.rank,
            'score_below': lower.score
        } as pair
    from verdicts as upper
    inner join verdicts as lower
        on
            upper.incident_id = lower.incident_id
            and upper.judge_run = lower.judge_run
            and upper.judged_on = lower.judged_on
            and upper.tasks = lower.tasks
    where upper.rank < lower.rank and upper.score < lower.score - 1e-6  -- sums of means are floats
),

widest as (
    select
        incident_id,
        judge_run,
        judged_on,
        count(*) as pairs,
        max(pair) as pair
    from pairs
    group by incident_id, judge_run, judged_on
)

select
    widest.incident_id,
    widest.judge_run,
    widest.judged_on,
    widest.pairs,
    widest.pair.ranked_above,
    widest.pair.rank,
    widest.pair.score,
    widest.pair.ranked_below,
    widest.pair.rank_below,
    widest.pair.score_below
from widest
order by widest.incident_id, widest.judge_run, widest.judged_on
