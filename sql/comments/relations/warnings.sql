comment on table warnings is 'One row per warning and emitted record that it is about.';

comment on column warnings.warning is 'what the warning says';
comment on column warnings.split is 'train or eval';
comment on column warnings.line is 'line in the split''s file, from 1';
comment on column warnings.incident_id is 'the incident';
comment on column warnings.task is 'summary, cause or risk';
