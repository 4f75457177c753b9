-- choices: one row per task: the model whose answer is used, and the winner by score.
-- reads: cleaning, made by immune_data/select/cleaning.py
-- `lead` is that of the used model over the best of the others on the score it was chosen by;
-- `standard_error` that of the lead from the judge's own noise, `margin` the lead that a winner
-- needs; `decides` is whether the task chose by a score of its own; `passed_over` says why better
-- answers were not used, best first.
with failures as (
    select
        choices.task,
        unnest(choices.passed_over) as one,
        generate_subscripts(choices.passed_over, 1) as place
    from choices
    where choices.incident_id = getvariable('incident')
),

passed_over as (
    select
        failures.task,
        list(
            format(
                '{}: {}{}',
                failures.one.model,
                failures.one.failure,
                coalesce(' (' || cleaning.detail || ')', '')
            )
            order by failures.place
        ) as reasons
    from failures
    left join cleaning
        on
            cleaning.incident_id = getvariable('incident')
            and failures.one.model = cleaning.model
            and failures.one.failure = format('{} refused by {}', cleaning.task, cleaning.rule)
            and cleaning.effect = 'refused'
    group by failures.task
)

select
    best_responses.task,
    best_responses.model,
    best_responses.winner,
    best_responses.score,
    best_responses.runner_up,
    best_responses.lead,
    best_responses.standard_error,
    best_responses.within_noise,
    settings.judging_margin as margin,
    best_responses.answered,
    choices.task is not null as decides,
    coalesce(passed_over.reasons, []) as passed_over
from best_responses
cross join settings
left join choices
    on
        best_responses.incident_id = choices.incident_id
        and best_responses.task = choices.task
left join passed_over on best_responses.task = passed_over.task
where best_responses.incident_id = getvariable('incident')
order by list_position(['summary', 'cause', 'risk'], best_responses.task)
