-- gates: one row per gate of either dataset, in order: the incident's value, the limit, whether it
-- passes, and whether it is the first that it fails. A gate's place is its place in the verdict.
-- `used` and `used_passes` are the same of the answer that is used: where a recipe's gates look at
-- any model's answers, another one may have passed for it.
with used as (
    select
        max(candidates.score) filter (where candidates.task = 'summary') as used_summary_score,
        max(candidates.score) filter (where candidates.task = 'cause') as used_cause_score,
        max(candidates.score) filter (where candidates.task = 'risk') as used_risk_score,
        max(candidates.length) filter (where candidates.task = 'summary') as used_summary_length,
        max(candidates.length) filter (where candidates.task = 'cause') as used_cause_length,
        max(candidates.length) filter (where candidates.task = 'risk') as used_risk_length,
        max(candidates.risk_level) as used_risk_level
    from best_responses
    inner join candidates using (incident_id, task, model)
    where best_responses.incident_id = getvariable('incident')
),

both_gates as (
    select
        'unified' as dataset,
        null as model,
        gates.summary_score,
        gates.cause_score,
        gates.risk_score,
        gates.summary_refused_by,
        gates.cause_refused_by,
        gates.risk_refused_by,
        gates.summary_length,
        gates.cause_length,
        gates.risk_length,
        gates.risk_level,
        gates.verdict,
        used.*
    from gates
    cross join used
    where gates.incident_id = getvariable('incident')
    union all by name
    select
        'standalone' as dataset,
        model,
        cause_score,
        risk_score,
        cause_refused_by,
        risk_refused_by,
        cause_length,
        risk_length,
        risk_level,
        verdict,
        cause_score as used_cause_score,
        risk_score as used_risk_score,
        cause_length as used_cause_length,
        risk_length as used_risk_length,
        risk_level as used_risk_level
    from risk_gates
    where incident_id = getvariable('incident')
),

limited as (
    select
        both_gates.*,
        settings.summary_length_min,
        settings.summary_length_max,
        settings.summary_length_unit,
        if(
            both_gates.dataset = 'unified',
            settings.cause_length_min,
            settings.standalone_cause_length_min
        ) as cause_length_min,
        if(
            both_gates.dataset = 'unified',
            settings.cause_length_max,
            settings.standalone_cause_length_max
        ) as cause_length_max,
        if(
            both_gates.dataset = 'unified',
            settings.cause_length_unit,
            settings.standalone_cause_length_unit
        ) as cause_length_unit,
        if(
            both_gates.dataset = 'unified',
            settings.risk_length_min,
            settings.standalone_risk_length_min
        ) as risk_length_min,
        if(
            both_gates.dataset = 'unified',
            settings.risk_length_max,
            settings.standalone_risk_length_max
        ) as risk_length_max,
        if(
            both_gates.dataset = 'unified',
            settings.risk_length_unit,
            settings.standalone_risk_length_unit
        ) as risk_length_unit,
        settings.summary_score_min,
        settings.cause_total_min,
        settings.risk_total_min,
        settings.answers_cleaned,
        settings.risk_level_required
    from both_gates
    cross join settings
),

entries as (
    select
        dataset,
        model,
        verdict,
        unnest([
            {
                'place': 1,
                'gate': 'summary_score',
                'value': format('{:g}', summary_score),
                'limit': format('at least {:g}', summary_score_min),
                'passes': summary_score >= summary_score_min,
                'used': format('{:g}', used_summary_score),
                'used_passes': used_summary_score >= summary_score_min,
                'applies': dataset = 'unified'
            },
            {
                'place': 2,
                'gate': 'cause_score',
                'value': format('{:g}', cause_score),
                'limit': format('at least {:g}', cause_total_min),
                'passes': cause_score >= cause_total_min,
                'used': format('{:g}', used_cause_score),
                'used_passes': used_cause_score >= cause_total_min,
                'applies': true
            },
            {
                'place': 3,
                'gate': 'risk_score',
                'value': format('{:g}', risk_score),
                'limit': format('at least {:g}', risk_total_min),
                'passes': risk_score >= risk_total_min,
                'used': format('{:g}', used_risk_score),
                'used_passes': used_risk_score >= risk_total_min,
                'applies': true
            },
            {
                'place': 4,
                'gate': 'summary_cleaning',
                'value': coalesce('refused by ' || summary_refused_by, 'clean'),
                'limit': 'not refused',
                'passes': summary_refused_by is null,
                'used': coalesce('refused by ' || summary_refused_by, 'clean'),
                'used_passes': summary_refused_by is null,
                'applies': answers_cleaned and dataset = 'unified'
            },
            {
                'place': 5,
                'gate': 'cause_cleaning',
                'value': coalesce('refused by ' || cause_refused_by, 'clean'),
                'limit': 'not refused',
                'passes': cause_refused_by is null,
                'used': coalesce('refused by ' || cause_refused_by, 'clean'),
                'used_passes': cause_refused_by is null,
                'applies': answers_cleaned
            },
            {
                'place': 6,
                'gate': 'risk_cleaning',
                'value': coalesce('refused by ' || risk_refused_by, 'clean'),
                'limit': 'not refused',
                'passes': risk_refused_by is null,
                'used': coalesce('refused by ' || risk_refused_by, 'clean'),
                'used_passes': risk_refused_by is null,
                'applies': answers_cleaned
            },
            {
                'place': 7,
                'gate': 'summary_length',
                'value': summary_length::varchar,
                'limit': format(
                    '{} to {} {}',
                    summary_length_min,
                    summary_length_max,
                    summary_length_unit
                ),
                'passes': summary_length between summary_length_min and summary_length_max,
                'used': used_summary_length::varchar,
                'used_passes':
                used_summary_length between summary_length_min and summary_length_max,
                'applies': dataset = 'unified'
            },
            {
                'place': 8,
                'gate': 'cause_length',
                'value': cause_length::varchar,
                'limit': format(
                    '{} to {} {}', cause_length_min, cause_length_max, cause_length_unit
                ),
                'passes': cause_length between cause_length_min and cause_length_max,
                'used': used_cause_length::varchar,
                'used_passes': used_cause_length between cause_length_min and cause_length_max,
                'applies': true
            },
            {
                'place': 9,
                'gate': 'risk_length',
                'value': risk_length::varchar,
                'limit': format(
                    '{} to {} {}', risk_length_min, risk_length_max, risk_length_unit
                ),
                'passes': risk_length between risk_length_min and risk_length_max,
                'used': used_risk_length::varchar,
                'used_passes': used_risk_length between risk_length_min and risk_length_max,
                'applies': true
            },
            {
                'place': 10,
                'gate': 'risk_level',
                'value': risk_level,
                'limit': 'Critical, High, Medium or Low',
                'passes': risk_level is not null,
                'used': used_risk_level,
                'used_passes': used_risk_level is not null,
                'applies': risk_level_required
            }
        ]) as entry
    from limited
)

select
    entries.dataset,
    entries.model,
    entries.entry.gate,
    entries.entry.value,
    entries.entry.limit,
    coalesce(entries.entry.passes, false) as passes,
    entries.entry.used,
    coalesce(entries.entry.used_passes, false) as used_passes,
    coalesce(entries.entry.gate = entries.verdict, false) as first_failed
from entries
where entries.entry.applies
order by entries.dataset desc, entries.entry.place asc
