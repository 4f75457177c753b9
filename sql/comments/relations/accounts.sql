comment on table accounts is
'One row per incident and task: where its records are, or why it has none.';

comment on column accounts.incident_id is 'the incident';
comment on column accounts.task is 'summary, cause or risk';
comment on column accounts.splits is 'splits that contain its records; null if there are none';
comment on column accounts.records is 'number of records';
comment on column accounts.reason is 'first reason why there is no record; null if there is one';
