-- A record's answer names an IP address, a port or a domain that is not in what the model was
-- shown; `in_full_dag` tells whether the DAG holds it beyond the cut.
-- severity: warn
with texts as (
    select
        split,
        line,
        lower(messages[-1].content) as answer,
        lower(messages[:-2]::varchar) as shown
    from conversations
),

extracted as (
    select
        split,
        line,
        regexp_extract_all(
            answer,
            '\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}\b'
            || '|\b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?'
        ) as addresses,
        regexp_extract_all(
            shown,
            '\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}\b'
            || '|\b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?'
        ) as shown_addresses,
        regexp_extract_all(
            array_to_string(
                regexp_extract_all(
                    answer,
                    '\bports?(?:\(s\))?:?\s+\d{1,5}'
                    || '(?:(?:\s*,\s*(?:and\s+|or\s+)?|\s+(?:and|or)\s+|\s*/\s*)\d{1,5}\b)*\b'
                    || '|\b\d{1,5}/(?:tcp|udp)\b'
                ),
                ' '
            ),
            '\d+'
        ) as ports,
        regexp_extract_all(shown, '\d+') as shown_ports,
        regexp_extract_all(
            answer,
            '\b(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+(?:com|net|org|info|biz|io|co|ai|app'
            || '|dev|cloud|online|site|xyz|top|club|shop|tech|live|ru|cn|de|uk|fr|nl|eu|us|br|it'
            || '|jp|kr|es|pl|cz|sk|se|no|fi|ch|at|be|ca|au|ir|ua|tr|tk|ml|ga|cf|gq|pw|cc|tv|me'
            || '|ws|su|to'
            || '|edu|gov|mil|int|arpa|local|lan|internal|test|example|onion)\b'
        ) as domains,
        regexp_extract_all(
            shown,
            '\b(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+(?:com|net|org|info|biz|io|co|ai|app'
            || '|dev|cloud|online|site|xyz|top|club|shop|tech|live|ru|cn|de|uk|fr|nl|eu|us|br|it'
            || '|jp|kr|es|pl|cz|sk|se|no|fi|ch|at|be|ca|au|ir|ua|tr|tk|ml|ga|cf|gq|pw|cc|tv|me'
            || '|ws|su|to'
            || '|edu|gov|mil|int|arpa|local|lan|internal|test|example|onion)\b'
        ) as shown_domains
    from texts
),

ungrounded as (
    select
        split,
        line,
        list_concat(
            [
                { 'kind': 'address', 'value': found }
                for found in list_distinct(addresses)
                if not list_contains(shown_addresses, found)
            ],
            [
                { 'kind': 'port', 'value': found }
                for found in list_distinct(ports)
                if not list_contains(shown_ports, found)
            ],
            [
                { 'kind': 'domain', 'value': found }
                for found in list_distinct(domains)
                if not list_contains(shown_domains, found)
            ]
        ) as findings
    from extracted
),

-- By DAG, so that each is read once, and is joined last.
by_dag as (
    select
        sft_records.incident_id,
        sft_records.dag_dataset,
        list(
            {
                'split': ungrounded.split,
                'line': ungrounded.line,
                'task': sft_records.task,
                'model': sft_records.model,
                'findings': ungrounded.findings
            }
        ) as records
    from ungrounded
    inner join sft_records
        on
            ungrounded.split = sft_records.split
            and ungrounded.line = sft_records.line
    where len(ungrounded.findings) > 0
    group by sft_records.incident_id, sft_records.dag_dataset
),

records as (
    select
        dags.incident_id,
        unnest(
            [
                {
                    'record': record,  -- noqa: RF02
                    'in_full_dag': [
                        regexp_matches(
                            lower(dags.text),
                            '(?:^|[^0-9a-z.:])'
                            || regexp_escape(finding.value)  -- noqa: RF01
                            || '(?:$|[^0-9a-z])'
                        )
                        for finding in record.findings  -- noqa: RF01
                    ]
                }
                for record in by_dag.records
            ]
        ) as judged
    from dags
    left join by_dag
        on
            dags.incident_id = by_dag.incident_id
            and dags.dataset = by_dag.dag_dataset
),

findings as (
    select
        records.incident_id,
        records.judged.record.task,
        records.judged.record.split,
        records.judged.record.line,
        records.judged.record.model,
        unnest(records.judged.record.findings) as finding,
        unnest(records.judged.in_full_dag) as in_full_dag
    from records
)

select
    findings.incident_id,
    findings.task,
    findings.split,
    findings.line,
    findings.model,
    findings.finding.kind,
    findings.finding.value,
    findings.in_full_dag
from findings
order by
    findings.split, findings.line, findings.finding.kind, findings.finding.value
