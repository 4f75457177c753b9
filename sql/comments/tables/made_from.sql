comment on table made_from is 'One row: what the tables were made from.';

comment on column made_from.tables_sha256 is 'digest of all tables';
comment on column made_from.inputs_sha256 is
'digest of the source files and of how the recipe declares them';
