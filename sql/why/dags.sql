-- dags: one row per dataset with evidence of the incident: whether records show it, and both
-- reads: condensed, made by immune_data/select/condensing.py
-- its forms, the lines that Slips wrote and, if the recipe has it, the condensed text.
select
    dags.dataset,
    dags.tokens,
    length(dags.text) as chars,
    dags.text_sha256,
    dags.dataset = min(dags.dataset) over () as used,  -- 'cause_risk' sorts before 'summaries'
    condensed.tokens as condensed_tokens,
    dags.text,
    condensed.text as condensed
from dags
left join condensed
    on dags.incident_id = condensed.incident_id and dags.dataset = condensed.dataset
where dags.incident_id = getvariable('incident')
order by used desc
