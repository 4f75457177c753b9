comment on table candidates is 'One row per incident, task and model that answered or was judged.';

comment on column candidates.incident_id is 'the incident';
comment on column candidates.task is 'summary, cause or risk';
comment on column candidates.model is 'the model';
comment on column candidates.judge_run is
'judge run whose verdict counts (rule 1), or the first of several; null if not judged';
comment on column candidates.runs is
'number of judge runs that the score is the mean of (rule 16)';
comment on column candidates.row is 'position of the verdict in that run''s file';
comment on column candidates.score is 'the verdict''s score, or the mean of several';
comment on column candidates.standard_error is
'standard error of the score, by the noise of its judge runs; null if a run has no calls';
comment on column candidates.rank is
'the judge''s own rank; of several runs, the order of their mean ranks';
comment on column candidates.place is
'order by score, ties by position in the scores (rules 3 and 16); null if not judged';
comment on column candidates.answered is 'whether there is an answer that cleaning did not refuse';
comment on column candidates.refused_by is
'cleaning rule that refused the answer; null if none did';
comment on column candidates.tokens is 'length of the answer as emitted, in tokens of Qwen2.5';
comment on column candidates.words is 'length of the answer as emitted, in words';
comment on column candidates.chars4 is
'length of the answer as emitted, in characters divided by 4, rounded down';
comment on column candidates.risk_level is 'level that the risk answer names';
comment on column candidates.length is
'length in the unit of the task''s gate; null without an answer';
comment on column candidates.miss is
'how far the length is outside the gate''s limits; 0 if inside';
