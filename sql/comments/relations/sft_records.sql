comment on table sft_records is 'One row per record to emit, without its texts (rule 6).';

comment on column sft_records.split is 'train or eval';
comment on column sft_records.line is 'line in the split''s file, from 1';
comment on column sft_records.incident_id is 'the incident';
comment on column sft_records.task is 'summary, cause or risk';
comment on column sft_records.model is 'model whose answer is used';
comment on column sft_records.score is 'that model''s score on the task';
comment on column sft_records.origin is 'unified or risk_only';
comment on column sft_records.copy is '0 for the original, 1 and up for copies';
comment on column sft_records.dag_dataset is 'dataset whose evidence is shown';
