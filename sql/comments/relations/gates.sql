comment on table gates is
'One row per pool incident: its value at every gate and its verdict (rule 4).';

comment on column gates.incident_id is 'the incident';
comment on column gates.summary_score is 'value at the gate summary_score';
comment on column gates.cause_score is 'value at the gate cause_score';
comment on column gates.risk_score is 'value at the gate risk_score';
comment on column gates.summary_refused_by is
'cleaning rule that refused the summary; null if none did';
comment on column gates.cause_refused_by is
'cleaning rule that refused the cause; null if none did';
comment on column gates.risk_refused_by is 'cleaning rule that refused the risk; null if none did';
comment on column gates.summary_length is 'value at the gate summary_length';
comment on column gates.cause_length is 'value at the gate cause_length';
comment on column gates.risk_length is 'value at the gate risk_length';
comment on column gates.risk_level is 'value at the gate risk_level';
comment on column gates.passed is 'whether the incident passes all gates';
comment on column gates.verdict is 'first gate that the incident fails; null if it passes';
