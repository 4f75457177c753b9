comment on table justifications is
'One row per incident, task and judge run that explained its scores.';

comment on column justifications.incident_id is 'the incident';
comment on column justifications.task is 'summary, cause or risk';
comment on column justifications.judge_run is 'file of the judge run';
comment on column justifications.text is 'the judge''s explanation';
