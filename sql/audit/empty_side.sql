-- severity: error
-- reads: conversations, made by immune_data/emit/records.py
-- A side of the split, train or eval, has no records although the recipe asks for a share: there is
-- nothing to learn from, or nothing to measure with.
select
    sides.split,
    sides.incidents,
    coalesce(sides.reason, 'its records are gone from `conversations`') as reason
from sides
anti join conversations on sides.split = conversations.split
where sides.share_asked > 0
order by sides.split desc
