comment on table rejects is
'One row per row of a source file, or group of its entries, that was not used.';

comment on column rejects.file is 'name of the file';
comment on column rejects.row is 'position of the row in its file, from 1';
comment on column rejects.reason is 'short name of the reason';
comment on column rejects.scope is
'row if the whole row was rejected, entry if only entries of it were';
comment on column rejects.incident_id is 'the incident that the row names, if it names one';
comment on column rejects.detail is 'what exactly is wrong';
comment on column rejects.json is 'the row as it is in the file';
