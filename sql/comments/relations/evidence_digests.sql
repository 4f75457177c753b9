comment on table evidence_digests is
'One row per DAG of a judged incident, if sides are hashed (rule 15).';

comment on column evidence_digests.incident_id is 'the incident';
comment on column evidence_digests.dataset is
'summaries or cause_risk: the dataset that the evidence comes from';
comment on column evidence_digests.sha256 is 'SHA-256 of the condensed evidence below its header';
