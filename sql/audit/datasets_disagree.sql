-- severity: warn
-- The two datasets have different DAGs for one incident: the answers in one of them were written
-- from other evidence than the record shows.
with texts as (
    select
        incident_id,
        max(text_sha256) filter (where dataset = 'cause_risk') as cause_risk_sha256,
        max(text_sha256) filter (where dataset = 'summaries') as summaries_sha256,
        max(tokens) filter (where dataset = 'cause_risk') as cause_risk_tokens,
        max(tokens) filter (where dataset = 'summaries') as summaries_tokens
    from dags
    group by incident_id
),

emitted as (
    select distinct incident_id
    from sft_records
)

select
    texts.incident_id,
    texts.cause_risk_tokens,
    texts.summaries_tokens,
    emitted.incident_id is not null as emitted
from texts
left join emitted on texts.incident_id = emitted.incident_id
where texts.cause_risk_sha256 <> texts.summaries_sha256
order by texts.incident_id
