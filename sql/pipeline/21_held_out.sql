-- held_out: one row per incident that a user keeps for an evaluation of their own. It is empty:
-- `audit --held-out FILE` creates a temporary relation of this name that hides it.
select incident_id
from incidents
where false
