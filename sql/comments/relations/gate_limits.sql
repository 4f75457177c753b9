comment on table gate_limits is
'One row per gate of either dataset, in the order in which they are applied.';

comment on column gate_limits.dataset is 'unified or standalone';
comment on column gate_limits.place is 'order of the gates, from 1';
comment on column gate_limits.gate is 'name of the gate: task and measure';
comment on column gate_limits.task is 'summary, cause or risk';
comment on column gate_limits.measure is 'score, cleaning, length or level: what the gate looks at';
comment on column gate_limits.least is 'lowest value that passes; null for cleaning and level';
comment on column gate_limits.most is 'highest value that passes; null except for lengths';
comment on column gate_limits.unit is 'unit of a length: chars4, words or tokens';
comment on column gate_limits.threshold is 'the limit in words';
comment on column gate_limits.required is 'whether the recipe has this gate';
