-- leads: one row per incident, deciding score and model with that score: its lead.
-- The runner-up is the best of the other models: `lead` is negative for a model that is not the
-- best, and null if no other was judged. The unified dataset decides by the summary's score and by
-- the cause's; the standalone one decides on cause and risk together, by their sum. If risk has a
-- winner of its own, both decide by the scores of each task. `place` is as in `candidates`: equal
-- scores are in the order of the judge's, and a winner within the margin may be behind another
-- model. `standard_error` is that of the lead; `within_noise` is whether equal answers would differ
-- by as much in more than one of twenty judgements.
with scored as (
    select
        candidates.incident_id,
        candidates.task as decided_on,
        candidates.model,
        candidates.place,
        candidates.score,
        candidates.standard_error
    from candidates
    cross join settings
    where
        candidates.place is not null
        and (candidates.task in ('summary', 'cause') or settings.choice_risk = 'own')
    union all
    select
        causes.incident_id,
        'cause and risk' as decided_on,
        causes.model,
        row_number() over (
            partition by causes.incident_id
            order by causes.score + risks.score desc, causes.place asc
        ) as place,
        causes.score + risks.score as score,
        sqrt(causes.standard_error ** 2 + risks.standard_error ** 2) as standard_error
    from candidates as causes
    inner join candidates as risks
        on
            causes.incident_id = risks.incident_id
            and causes.model = risks.model
            and risks.task = 'risk'
            and risks.place is not null
    where causes.task = 'cause' and causes.place is not null
),

ordered as (
    select
        *,
        row_number() over (
            partition by incident_id, decided_on order by score desc, place asc
        ) as by_score
    from scored
),

leads as (
    select
        scored.incident_id,
        scored.decided_on,
        scored.model,
        scored.place,
        scored.score,
        rivals.model as runner_up,
        rivals.score as runner_up_score,
        scored.score - rivals.score as lead,
        round(
            sqrt(scored.standard_error ** 2 + rivals.standard_error ** 2), 6
        ) as standard_error
    from ordered as scored
    left join ordered as rivals
        on
            scored.incident_id = rivals.incident_id
            and scored.decided_on = rivals.decided_on
            and rivals.by_score = if(scored.by_score = 1, 2, 1)
)

select
    *,
    abs(lead) < 1.96 * standard_error as within_noise
from leads
order by incident_id, decided_on, place
