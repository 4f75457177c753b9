comment on table settings is
'One row: the recipe''s values under the names that the SQL files use.';

comment on column settings.recipe is 'name of the recipe';
comment on column settings.judging_combine is
'first (rule 1) or mean (rule 16): which of several judge runs count';
comment on column settings.judging_margin is
'lead in points that makes a winner without the order of the scores (rule 16)';
comment on column settings.answers_cleaned is 'whether answers are cleaned or refused (rule 10)';
comment on column settings.answers_grounded is
'whether an answer may name only what its prompt shows (rule 14)';
comment on column settings.answers_derived_lines is
'whether closing lines of a summary are set from the evidence (rule 14)';
comment on column settings.choice_risk is
'cause_winner (rule 3) or own (rule 12): whose risk answer is used';
comment on column settings.gates_look_at is
'any (rule 4) or winner (rule 13): whose answers the gates look at';
comment on column settings.summary_score_min is 'lowest summary score that passes';
comment on column settings.cause_total_min is 'lowest cause total that passes';
comment on column settings.risk_total_min is 'lowest risk total that passes';
comment on column settings.summary_length_min is 'shortest summary that passes';
comment on column settings.summary_length_max is 'longest summary that passes';
comment on column settings.summary_length_unit is
'unit of the summary lengths: chars4, words or tokens';
comment on column settings.cause_length_min is 'shortest cause that passes';
comment on column settings.cause_length_max is 'longest cause that passes';
comment on column settings.cause_length_unit is
'unit of the cause lengths: chars4, words or tokens';
comment on column settings.risk_length_min is 'shortest risk that passes';
comment on column settings.risk_length_max is 'longest risk that passes';
comment on column settings.risk_length_unit is 'unit of the risk lengths: chars4, words or tokens';
comment on column settings.risk_level_required is 'whether a risk answer must name a level';
comment on column settings.split_method is 'shuffle or groups (rule 5), or hashed (rule 15)';
comment on column settings.split_key is
'text that is hashed together with source IP and time window (rule 15)';
comment on column settings.eval_share is 'share of incidents for eval';
comment on column settings.split_seed is 'seed of the shuffle (rule 5)';
comment on column settings.standalone_cause_length_min is
'shortest cause that passes in the standalone dataset';
comment on column settings.standalone_cause_length_max is
'longest cause that passes in the standalone dataset';
comment on column settings.standalone_cause_length_unit is
'unit of the cause lengths in the standalone dataset';
comment on column settings.standalone_risk_length_min is
'shortest risk that passes in the standalone dataset';
comment on column settings.standalone_risk_length_max is
'longest risk that passes in the standalone dataset';
comment on column settings.standalone_risk_length_unit is
'unit of the risk lengths in the standalone dataset';
comment on column settings.standalone_eval_share is
'share of incidents for eval in the standalone dataset';
comment on column settings.standalone_split_seed is 'seed of the permutation (rule 8)';
comment on column settings.dag_form is
'lines (rule 7) or condensed (rule 11): how evidence is shown';
comment on column settings.dag_values is 'most values that condensed evidence names at one place';
comment on column settings.dag_limit is 'longest evidence shown, in dag_unit';
comment on column settings.dag_unit is 'tokens or words';
comment on column settings.dag_marker is 'line that says that evidence was cut';
comment on column settings.dag_within_context is
'whether evidence is shortened so that the conversation fits the context';
comment on column settings.dataset is 'unified or risk: the dataset that is emitted';
comment on column settings.augmentation is
'none, not_in_train or not_in_splits: what is appended to train (rule 9)';
comment on column settings.cause_risk_copies is
'number of times cause and risk train records are written';
comment on column settings.max_sequence_tokens is 'context that records are trained in, in tokens';
comment on column settings.prompt_layout is 'documented or evidence-first';
comment on column settings.audit_dag_resemblance is
'share of common lines from which two DAGs are nearly the same';
