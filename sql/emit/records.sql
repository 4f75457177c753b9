-- records: one row per record to emit, in its file's order: its keys, its incident's facts,
-- reads: cleaned, made by immune_data/select/cleaning.py
-- reads: condensed, made by immune_data/select/condensing.py
-- and the rows of `dags` or `condensed`, and of `responses` or `cleaned`, with its texts: joins use
-- only keys.
select
    sft_records.split,
    sft_records.line,
    sft_records.incident_id,
    sft_records.task,
    sft_records.model,
    sft_records.score,
    sft_records.origin,
    incidents.source_ip,
    incidents.timewindow,
    incidents.timeline,
    incidents.threat_level,
    incidents.event_count,
    condensed.incident_id is not null as dag_condensed,
    coalesce(condensed.rowid, dags.rowid) as dag_row,
    coalesce(condensed.tokens, dags.tokens) as dag_tokens,
    cleaned.model is not null as answer_cleaned,
    coalesce(cleaned.rowid, responses.rowid) as answer_row,
    coalesce(cleaned.tokens, responses.tokens) as answer_tokens
from sft_records
inner join incidents on sft_records.incident_id = incidents.incident_id
inner join dags
    on
        sft_records.incident_id = dags.incident_id
        and sft_records.dag_dataset = dags.dataset
left join condensed
    on
        sft_records.incident_id = condensed.incident_id
        and sft_records.dag_dataset = condensed.dataset
inner join responses
    on
        sft_records.incident_id = responses.incident_id
        and sft_records.task = responses.task
        and sft_records.model = responses.model
left join cleaned
    on
        sft_records.incident_id = cleaned.incident_id
        and sft_records.task = cleaned.task
        and sft_records.model = cleaned.model
order by sft_records.split, sft_records.line
