comment on table best_responses is
'One row per pool incident and task: the model whose answer is used.';

comment on column best_responses.incident_id is 'the incident';
comment on column best_responses.task is 'summary, cause or risk';
comment on column best_responses.model is 'model whose answer is used';
comment on column best_responses.winner is
'model with the best score on what the choice was made by';
comment on column best_responses.score is 'the used model''s own score on the task';
comment on column best_responses.runner_up is
'best of the other models on the score that the choice was made by';
comment on column best_responses.lead is
'lead over the runner-up; negative if a better model was passed over';
comment on column best_responses.standard_error is
'standard error of the lead, by the noise of the judge runs; null if not known';
comment on column best_responses.within_noise is
'whether the lead is less than 1.96 standard errors; null if not known';
comment on column best_responses.answered is 'whether the used model has an answer';
