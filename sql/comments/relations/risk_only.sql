comment on table risk_only is
'One row per incident whose cause and risk are appended to train (rule 9).';

comment on column risk_only.incident_id is 'the incident';
comment on column risk_only.cause_model is 'model whose cause is used';
comment on column risk_only.risk_model is 'model whose risk answer is used';
comment on column risk_only.cause_score is 'cause total of cause_model';
comment on column risk_only.risk_score is 'risk total of risk_model';
comment on column risk_only.position is 'position in the standalone order, from 1';
