comment on table cleaning is
'One row per answer and cleaning rule that changed or refused it (rule 10).';

comment on column cleaning.incident_id is 'the incident';
comment on column cleaning.task is 'summary, cause or risk';
comment on column cleaning.model is 'the model that answered';
comment on column cleaning.rule is 'name of the cleaning rule';
comment on column cleaning.effect is 'changed or refused';
comment on column cleaning.detail is 'what exactly was refused, where the rule says so; else null';
