-- scores: one row per task, model and score from a judge run that counts, with its frequency.
select
    task,
    model,
    score,
    count(*) as answers
from candidates
where place is not null
group by task, model, score
order by list_position(['summary', 'cause', 'risk'], task) asc, model asc, score asc
