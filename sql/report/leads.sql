-- leads: one row per score that decides, model that has the best one, and how far it is ahead of
-- the next (null where no other was judged): how many pool incidents.
with placed as (
    select
        candidates.incident_id,
        candidates.task,
        max(candidates.model) filter (where candidates.place = 1) as model,
        max(candidates.score) filter (where candidates.place = 1)
        - max(candidates.score) filter (where candidates.place = 2) as lead
    from candidates
    inner join pool on candidates.incident_id = pool.incident_id
    where candidates.task in ('summary', 'cause') and candidates.place <= 2
    group by candidates.incident_id, candidates.task
)

select
    task,
    model,
    lead,
    count(*) as incidents
from placed
group by task, model, lead
order by list_position(['summary', 'cause'], task) asc, model asc, lead asc
