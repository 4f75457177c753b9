comment on table risk_splits is
'One row per incident in a split of the standalone dataset (rules 8 and 15).';

comment on column risk_splits.incident_id is 'the incident';
comment on column risk_splits.cause_model is 'model whose cause is used';
comment on column risk_splits.risk_model is 'model whose risk answer is used';
comment on column risk_splits.cause_score is 'cause total of cause_model';
comment on column risk_splits.risk_score is 'risk total of risk_model';
comment on column risk_splits.position is 'position in the order of the split, from 1';
comment on column risk_splits.split is 'train or eval';
