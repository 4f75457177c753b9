comment on table responses is 'One row per incident, task and model that answered.';

comment on column responses.incident_id is 'the incident';
comment on column responses.task is 'summary, cause or risk';
comment on column responses.model is 'canonical name of the model, as the recipe declares it';
comment on column responses.text is 'the answer, as the source file has it';
comment on column responses.tokens is 'length of the answer in tokens of Qwen2.5';
comment on column responses.chars is 'length of the answer in Unicode code points';
comment on column responses.words is
'length of the answer in words, as Python''s str.split() counts them';
comment on column responses.risk_level is
'first word of a risk answer that names a level; null if none does';
