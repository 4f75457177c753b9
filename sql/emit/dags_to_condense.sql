-- dags_to_condense: one row per judged incident and dataset that holds its evidence, if the recipe
-- condenses it or divides by hash, as they lie in the table.
select
    dags.incident_id,
    dags.dataset,
    dags.text
from dags
semi join judgements on dags.incident_id = judgements.incident_id
where
    (select settings.dag_form = 'condensed' or settings.split_method = 'hashed' from settings)
