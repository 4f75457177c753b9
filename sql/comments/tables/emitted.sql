comment on table emitted is
'One row per recipe in this database: what it was emitted from. Not published.';

comment on column emitted.recipe is 'name of the recipe';
comment on column emitted.inputs_sha256 is 'digest of everything that determines the dataset';
comment on column emitted.recipe_sha256 is 'digest of the recipe''s values and prompts';
comment on column emitted.file is
'path of the recipe''s file from the artifact folder; null for a shipped recipe';
comment on column emitted.source is 'folder of the source files, as it was given to emit';
