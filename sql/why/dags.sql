-- dags: one row per dataset that holds evidence of the incident, and whether records show it.
select
    dataset,
    tokens,
    length(text) as chars,
    text_sha256,
    dataset = min(dataset) over () as used  -- 'cause_risk' sorts before 'summaries'
from dags
where incident_id = getvariable('incident')
order by used desc
