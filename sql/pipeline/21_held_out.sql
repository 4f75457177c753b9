-- held_out: one row per incident that somebody keeps for an evaluation of their own. It is empty:
-- `audit --held-out FILE` lays a temporary relation of this name over it.
select incident_id
from incidents
where false
