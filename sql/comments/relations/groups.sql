comment on table groups is
'One row per incident: the group that must stay on one side of the split.';

comment on column groups.incident_id is 'the incident';
comment on column groups.group_id is 'first incident of the group, after which it is named';
