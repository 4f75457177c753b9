comment on table leads is
'One row per incident, score that decides, and model: its lead over the others.';

comment on column leads.incident_id is 'the incident';
comment on column leads.decided_on is
'summary, cause, risk, or cause and risk (their sum, in the standalone dataset)';
comment on column leads.model is 'the model';
comment on column leads.place is 'order of the models by this score, from 1';
comment on column leads.score is 'the model''s score';
comment on column leads.runner_up is 'best of the other models; null if there is none';
comment on column leads.runner_up_score is 'score of the runner-up';
comment on column leads.lead is 'score minus runner_up_score';
comment on column leads.standard_error is
'standard error of the lead, by the noise of the judge runs; null if not known';
comment on column leads.within_noise is
'whether the lead is less than 1.96 standard errors; null if not known';
