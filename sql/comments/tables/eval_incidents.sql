comment on table eval_incidents is
'One row per recipe in this database and incident in its eval split.';

comment on column eval_incidents.recipe is 'name of the recipe';
comment on column eval_incidents.incident_id is 'the incident';
