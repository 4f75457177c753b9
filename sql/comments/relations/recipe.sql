comment on table recipe is
'One row: the values of the recipe, a section per column, and their digests.';

comment on column recipe.name is 'name of the recipe';
comment on column recipe.description is 'one line that says what the recipe is';
comment on column recipe.sources is 'section sources: the source files by role, as JSON';
comment on column recipe.models is
'section models: field names and spellings of the models, as JSON';
comment on column recipe.judging is
'section judging: how several judge runs count, and the margin of a winner';
comment on column recipe.answers is 'section answers: what is required of answers';
comment on column recipe.choice is 'section choice: whose risk answer is used';
comment on column recipe.gates is 'section gates: thresholds of the unified dataset';
comment on column recipe.split is 'section split: how incidents are divided into train and eval';
comment on column recipe.risk is 'section risk: the standalone cause and risk dataset';
comment on column recipe.dag is 'section dag: how evidence is shown';
comment on column recipe.records is 'section records: which records are emitted';
comment on column recipe.audit is 'section audit: what the audit compares against';
comment on column recipe.inputs_sha256 is 'digest of everything that determines the dataset';
comment on column recipe.recipe_sha256 is 'digest of the recipe''s values and prompts';
