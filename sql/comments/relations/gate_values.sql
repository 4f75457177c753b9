comment on table gate_values is
'One row per incident, gate and model that may win: its value at the gate.';

comment on column gate_values.dataset is 'unified or standalone';
comment on column gate_values.incident_id is 'the incident';
comment on column gate_values.model is 'model that may win, in the standalone dataset; else null';
comment on column gate_values.place is 'order of the gates, from 1';
comment on column gate_values.gate is 'name of the gate';
comment on column gate_values.threshold is 'the limit in words';
comment on column gate_values.required is 'whether the recipe has this gate';
comment on column gate_values.number is 'value at the gate, if it is a score or a length';
comment on column gate_values.word is 'level named, or cleaning rule that refused';
comment on column gate_values.passed is 'whether the value passes';
comment on column gate_values.used_number is 'the same as number, of the answer that is used';
comment on column gate_values.used_word is 'the same as word, of the answer that is used';
comment on column gate_values.used_passed is 'the same as passed, of the answer that is used';
