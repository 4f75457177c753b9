-- evidence: one row per half power of two that the tokens of an emitted incident's evidence reach.
-- reads: conversations, made by immune_data/emit/records.py
-- It counts the incidents whose evidence is shown completely in every record, and the others.
with emitted as (
    select
        incident_id,
        max(dag_tokens) as tokens,
        bool_or(dag_truncated) as cut
    from conversations
    group by incident_id
)

select
    floor(2 * log2(tokens)) / 2 as power,
    count(*) filter (where not cut) as whole,
    count(*) filter (where cut) as cut
from emitted
group by power
order by power
