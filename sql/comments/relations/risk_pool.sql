comment on table risk_pool is
'One row per incident judged on cause and risk, for the standalone dataset (rule 8).';

comment on column risk_pool.incident_id is 'the incident';
comment on column risk_pool.ordinal is 'position in the judge file''s order, from 1';
