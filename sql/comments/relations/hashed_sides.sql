comment on table hashed_sides is 'One row per incident if sides are hashed (rule 15); else empty.';

comment on column hashed_sides.incident_id is 'the incident';
comment on column hashed_sides.digest is 'hash of key, source IP and time window, in hexadecimal';
comment on column hashed_sides.side is 'train or eval, by the hash';
comment on column hashed_sides.same_in_eval is
'for a train incident, the first eval incident with the same evidence; else null';
