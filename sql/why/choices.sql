-- choices: one row per task: the model whose answer is used, the winner by score, and by how much
-- the used one led the best of the others on the score it was chosen by.
select
    task,
    model,
    winner,
    score,
    runner_up,
    lead,
    answered
from best_responses
where incident_id = getvariable('incident')
order by list_position(['summary', 'cause', 'risk'], task)
