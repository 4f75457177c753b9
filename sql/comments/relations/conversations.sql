comment on table conversations is 'One row per emitted record, with its messages and token counts.';

comment on column conversations.split is 'train or eval';
comment on column conversations.line is 'line in the split''s file, from 1';
comment on column conversations.incident_id is 'the incident';
comment on column conversations.task is 'summary, cause or risk';
comment on column conversations.model is 'model whose answer is used';
comment on column conversations.origin is 'unified or risk_only';
comment on column conversations.tokens is
'length of the whole conversation under the chat template';
comment on column conversations.prompt_tokens is 'tokens before the answer';
comment on column conversations.answer_tokens is
'tokens of the answer and of the token that ends it';
comment on column conversations.dag_tokens is 'tokens of the whole evidence';
comment on column conversations.dag_tokens_shown is 'tokens of the evidence that the record shows';
comment on column conversations.dag_truncated is
'whether the record shows less than the whole evidence';
comment on column conversations.holds_added_token is
'whether a message contains an added token of Qwen2.5 as text';
comment on column conversations.answer_lacks is
'parts of the answer that its prompt asks for and that are missing';
comment on column conversations.answer_events is
'number of events that a summary''s text reports; null if it reports none';
comment on column conversations.answer_total_evidence is
'the number in the closing line Total Evidence of a summary';
comment on column conversations.answer_severities is
'the numbers in the closing line Severity breakdown of a summary';
comment on column conversations.messages is 'the messages, each with role and content';
