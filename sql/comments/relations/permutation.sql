comment on table permutation is
'One row per incident that passes the standalone gates: the drawn order.';

comment on column permutation.position is
'position after the permutation, from 1; eval comes first (rule 8)';
comment on column permutation.ordinal is
'position before it, in the judge file''s order of passing incidents, from 1';
