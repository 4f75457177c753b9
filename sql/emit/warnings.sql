-- warnings: one row per warning and split: how many records and incidents it is about.
select
    warning,
    split,
    count(*) as records,
    count(distinct incident_id) as incidents
from warnings
group by warning, split
order by warning, split
