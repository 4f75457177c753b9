-- answers_to_clean: one row per answer, if the recipe cleans them, in the order of the table: texts
-- are neither joined nor sorted.
select
    incident_id,
    task,
    model,
    text,
    tokens
from responses
where (select settings.answers_cleaned from settings)
