comment on table splits is
'One row per passing incident that is not left out: its split (rules 5 and 15).';

comment on column splits.incident_id is 'the incident';
comment on column splits.position is 'position in the order of the split, from 1';
comment on column splits.split is 'train or eval';
