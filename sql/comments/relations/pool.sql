comment on table pool is
'One row per incident judged on all tasks and present in both datasets (rule 2).';

comment on column pool.incident_id is 'the incident';
