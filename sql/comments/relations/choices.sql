comment on table choices is
'One row per pool incident and task that chooses its answer (rules 3, 12 and 13).';

comment on column choices.incident_id is 'the incident';
comment on column choices.task is 'summary or cause; risk too if it has a winner of its own';
comment on column choices.model is 'model whose answer is used';
comment on column choices.winner is 'model with the best score';
comment on column choices.passed_over is
'better models that were not used, best first, each with the first reason';
