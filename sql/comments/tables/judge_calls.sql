comment on table judge_calls is
'One row per incident, task, judge run, call and answer that was scored in it.';

comment on column judge_calls.incident_id is 'the incident';
comment on column judge_calls.task is 'summary, cause or risk';
comment on column judge_calls.judge_run is 'file of the judge run';
comment on column judge_calls.call is 'number of the call about the incident, from 1';
comment on column judge_calls.model is 'canonical name of the model whose answer was scored';
comment on column judge_calls.position is 'place of the answer in the order shown, from 1';
comment on column judge_calls.score is 'score that the call gave the answer';
