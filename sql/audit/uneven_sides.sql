-- severity: warn
-- The share of the passing incidents that are in eval is less than half the share that the recipe
-- asks for, or more than twice as much.
select
    split,
    incidents,
    share,
    share_asked
from sides
where split = 'eval' and uneven
