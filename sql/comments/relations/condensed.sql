comment on table condensed is
'One row per DAG of a judged incident, condensed (rule 11); else empty.';

comment on column condensed.incident_id is 'the incident';
comment on column condensed.dataset is
'summaries or cause_risk: the dataset that the evidence comes from';
comment on column condensed.text is 'the condensed evidence';
comment on column condensed.tokens is 'length of the text in tokens of Qwen2.5';
