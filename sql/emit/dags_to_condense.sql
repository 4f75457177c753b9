-- dags_to_condense: one row per judged incident and dataset with its evidence, if the recipe
-- condenses it or splits by hash, in the order of the table. The judged incidents are grouped
-- first, so that the join keeps them in memory and not the texts.
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
