comment on table shuffle is 'One row per passing incident: the shuffled order (rule 5).';

comment on column shuffle.position is 'position after the shuffle, from 1';
comment on column shuffle.ordinal is
'position before the shuffle, in the order of incident_id, from 1';
