comment on table judgements is
'One row per incident, task, model and judge run that scored the answer.';

comment on column judgements.incident_id is 'the incident';
comment on column judgements.task is 'summary, cause or risk';
comment on column judgements.model is 'canonical name of the model that was judged';
comment on column judgements.judge_run is 'file of the judge run';
comment on column judgements.row is 'position of the verdict in its file, from 1';
comment on column judgements.position is
'position of the model''s key among the verdict''s scores, from 1; decides ties';
comment on column judgements.score is
'score of a summary (0 to 10), or total of a cause or risk (0 to 30)';
comment on column judgements.rank is
'the judge''s own rank of the model, from 1; one rank for cause and risk together';
comment on column judgements.evidence_grounding is 'sub-score of a cause, 0 to 10';
comment on column judgements.cause_specificity is 'sub-score of a cause, 0 to 10';
comment on column judgements.alternative_hypotheses is 'sub-score of a cause, 0 to 10';
comment on column judgements.risk_calibration is 'sub-score of a risk, 0 to 10';
comment on column judgements.actionability is 'sub-score of a risk, 0 to 10';
comment on column judgements.business_impact is 'sub-score of a risk, 0 to 10';
comment on column judgements.calls is
'number of calls that the score is the mean of; null if the file does not say';
comment on column judgements.spread is
'standard deviation of the scores of those calls, the means of places taken out';
