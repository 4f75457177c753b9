comment on table cleaned is 'One row per answer that cleaning changed and did not refuse.';

comment on column cleaned.incident_id is 'the incident';
comment on column cleaned.task is 'summary, cause or risk';
comment on column cleaned.model is 'the model that answered';
comment on column cleaned.text is 'the answer as it is emitted';
comment on column cleaned.tokens is 'length of the answer in tokens of Qwen2.5';
comment on column cleaned.chars is 'length of the answer in Unicode code points';
comment on column cleaned.words is
'length of the answer in words, as Python''s str.split() counts them';
comment on column cleaned.risk_level is
'first word of a risk answer that names a level; null if none does';
