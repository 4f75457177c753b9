-- leads: one row per incident, score that decides and model that has it: by how much it leads.
-- The runner-up is the best of the others: `lead` is less than nothing for a model that is not the
-- best, and null where no other was judged. The unified dataset decides by the summary's score and
-- by the cause's; the standalone one on cause and risk as one, by the sum. Where risk has a winner
-- of its own, both decide by the scores of each task. `place` is as in `candidates`: equal scores
-- stand in the order of the judge's.
with scored as (
    select
        candidates.incident_id,
        candidates.task as decided_on,
        candidates.model,
        candidates.place,
        candidates.score
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
        causes.score + risks.score as score
    from candidates as causes
    inner join candidates as risks
        on
            causes.incident_id = risks.incident_id
            and causes.model = risks.model
            and risks.task = 'risk'
            and risks.place is not null
    where causes.task = 'cause' and causes.place is not null
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
        scored.score - rivals.score as lead
    from scored
    left join scored as rivals
        on
            scored.incident_id = rivals.incident_id
            and scored.decided_on = rivals.decided_on
            and rivals.place = if(scored.place = 1, 2, 1)
)

select * from leads
order by incident_id, decided_on, place
