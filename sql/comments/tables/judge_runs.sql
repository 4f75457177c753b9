comment on table judge_runs is 'One row per judge run and task.';

comment on column judge_runs.judge_run is 'file of the judge run';
comment on column judge_runs.task is 'summary, cause or risk';
comment on column judge_runs.precedence is
'order of the runs, from 1: the first run with a verdict counts (rule 1)';
comment on column judge_runs.judge is 'model that judged';
comment on column judge_runs.provider is 'who served that model';
comment on column judge_runs.incidents is 'number of incidents that the run judged on the task';
