-- dags_to_condense: one row per judged incident and dataset that holds its evidence, if the recipe
-- condenses it or divides by hash, as they lie in the table. The judged incidents are made few, so
-- that the join holds them and not the texts.
with judged as (
    select distinct incident_id
    from judgements
)

select
    dags.incident_id,
    dags.dataset,
    dags.text
from dags
semi join judged on dags.incident_id = judged.incident_id
where
    (select settings.dag_form = 'condensed' or settings.split_method = 'hashed' from settings)
