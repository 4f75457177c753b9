comment on table dags is
'One row per incident and dataset that contains evidence (a DAG text) for it.';

comment on column dags.incident_id is 'the incident';
comment on column dags.dataset is 'summaries or cause_risk: the dataset that the text comes from';
comment on column dags.text is 'the evidence, as the source file has it';
comment on column dags.text_sha256 is 'SHA-256 of the text in UTF-8, in hexadecimal';
comment on column dags.tokens is 'length of the text in tokens of Qwen2.5';
