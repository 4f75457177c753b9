comment on table funnel is 'One row per step from the datasets to the records, in order.';

comment on column funnel.step is 'name of the step';
comment on column funnel.incidents is 'incidents left after the step';
comment on column funnel.records is 'records that they give; null for steps before records';
comment on column funnel.lost is 'incidents lost since the step before';
comment on column funnel.why is 'why they were lost; null if none was';
