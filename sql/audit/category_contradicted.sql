-- severity: warn
-- reads: cleaned, made by immune_data/select/cleaning.py
-- A risk answer contradicts its incident's category: it calls the risk of a Normal one High or
-- Critical, or that of a Malware one Low.
with levels as (
    select
        sft_records.incident_id,
        sft_records.task,
        sft_records.split,
        sft_records.line,
        sft_records.model,
        incidents.category,
        coalesce(cleaned.risk_level, responses.risk_level) as level
    from sft_records
    inner join incidents on sft_records.incident_id = incidents.incident_id
    inner join responses
        on
            sft_records.incident_id = responses.incident_id
            and sft_records.task = responses.task
            and sft_records.model = responses.model
    left join cleaned
        on
            sft_records.incident_id = cleaned.incident_id
            and sft_records.task = cleaned.task
            and sft_records.model = cleaned.model
    where sft_records.task = 'risk'
)

select * from levels
where
    (category = 'Normal' and level in ('High', 'Critical'))
    or (category = 'Malware' and level = 'Low')
order by split, line
