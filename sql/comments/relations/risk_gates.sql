comment on table risk_gates is
'One row per incident of risk_pool: its winners, values and verdict (rule 8).';

comment on column risk_gates.incident_id is 'the incident';
comment on column risk_gates.ordinal is 'position in the judge file''s order, from 1';
comment on column risk_gates.cause_model is 'model whose cause is used';
comment on column risk_gates.risk_model is 'model whose risk answer is used';
comment on column risk_gates.cause_score is 'cause total of cause_model';
comment on column risk_gates.risk_score is 'risk total of risk_model';
comment on column risk_gates.cause_refused_by is
'cleaning rule that refused the cause; null if none did';
comment on column risk_gates.risk_refused_by is
'cleaning rule that refused the risk; null if none did';
comment on column risk_gates.cause_length is 'length of the cause, in the unit of its gate';
comment on column risk_gates.risk_length is 'length of the risk answer, in the unit of its gate';
comment on column risk_gates.risk_level is 'level that the risk answer names';
comment on column risk_gates.passed is 'whether the incident passes all standalone gates';
comment on column risk_gates.verdict is 'first gate that the incident fails; null if it passes';
