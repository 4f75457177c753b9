comment on table held_out is
'Empty; `audit --held-out FILE` puts a temporary relation in its place.';

comment on column held_out.incident_id is 'an incident that is kept for an evaluation elsewhere';
