-- severity: warn
-- The share of the passing incidents that is eval is less than half of what the recipe asks for, or
-- more than twice as much.
select
    split,
    incidents,
    share,
    share_asked
from sides
where split = 'eval' and uneven
