-- severity: warn
-- reads: conversations, made by immune_data/emit/records.py
-- A record's answer names an IP address, a port or a domain that is not in what the model was
-- shown; `in_full_dag` tells whether the DAG holds it beyond the cut.
with answers as (
    select
        split,
        line,
        messages,
        -- To Python, which measures the same, İ in lower case has its dot above the i.
        lower(replace(messages[-1].content, 'İ', 'i̇')) as answer
    from conversations
),

named as (
    select
        split,
        line,
        messages,
        list_distinct(
            regexp_extract_all(
                answer,
                '\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}\b'
                || '|\b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?'
            )
        ) as addresses,
        list_distinct(
            regexp_extract_all(
                array_to_string(
                    regexp_extract_all(
                        answer,
                        '\bports?(?:\(s\))?:?[\t\n\f\r ]+\d{1,5}'
                        || '(?:(?:[\t\n\f\r ]*,[\t\n\f\r ]*(?:and[\t\n\f\r ]+|or[\t\n\f\r ]+)?'
                        || '|[\t\n\f\r ]+(?:and|or)[\t\n\f\r ]+|[\t\n\f\r ]*/[\t\n\f\r ]*)'
                        || '\d{1,5}\b)*\b'
                        || '|\b\d{1,5}/(?:tcp|udp)\b'
                    ),
                    ' '
                ),
                '\d+'
            )
        ) as ports,
        list_distinct(
            regexp_extract_all(
                answer,
                '\b(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+(?:com|net|org|info|biz|io|co|ai'
                || '|app|dev|cloud|online|site|xyz|top|club|shop|tech|live|ru|cn|de|uk|fr|nl|eu'
                || '|us|br|it|jp|kr|es|pl|cz|sk|se|no|fi|ch|at|be|ca|au|ir|ua|tr|tk|ml|ga|cf|gq'
                || '|pw|cc|tv|me|ws|su|to'
                || '|edu|gov|mil|int|arpa|local|lan|internal|test|example|onion)\b'
            )
        ) as domains
    from answers
),

-- What was shown is long: it is read where the answer names something, and for that kind alone.
shown as (
    select
        split,
        line,
        addresses,
        ports,
        domains,
        lower(replace(messages[:-2]::varchar, 'İ', 'i̇')) as shown
    from named
    where len(addresses) + len(ports) + len(domains) > 0
),

compared as (
    select
        split,
        line,
        addresses,
        ports,
        domains,
        shown,
        case
            when len(addresses) > 0
                then regexp_extract_all(
                    shown,
                    '\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}\b'
                    || '|\b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?'
                )
        end as shown_addresses,
        case
            when len(domains) > 0
                then regexp_extract_all(
                    shown,
                    '\b(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+(?:com|net|org|info|biz|io|co'
                    || '|ai|app|dev|cloud|online|site|xyz|top|club|shop|tech|live|ru|cn|de|uk|fr'
                    || '|nl|eu|us|br|it|jp|kr|es|pl|cz|sk|se|no|fi|ch|at|be|ca|au|ir|ua|tr|tk|ml'
                    || '|ga|cf|gq|pw|cc|tv|me|ws|su|to'
                    || '|edu|gov|mil|int|arpa|local|lan|internal|test|example|onion)\b'
                )
        end as shown_domains
    from shown
),

ungrounded as (
    select
        split,
        line,
        list_concat(
            [
                { 'kind': 'address', 'value': found }
                for found in addresses
                if not list_contains(shown_addresses, found)
            ],
            [
                { 'kind': 'port', 'value': found }
                for found in ports
                if not regexp_matches(shown, '(?:^|\D)' || found || '(?:$|\D)')
            ],
            [
                { 'kind': 'domain', 'value': found }
                for found in domains
                if not list_contains(shown_domains, found)
            ]
        ) as findings
    from compared
),

findings as (
    select
        split,
        line,
        unnest(findings) as finding
    from ungrounded
),

-- In one list for a moment: what comes out of it is planned as few rows, which wait in memory for
-- the DAGs' texts to go by, and never the texts for them.
gathered as (
    select
        unnest(
            list(
                {
                    'incident_id': sft_records.incident_id,
                    'dataset': sft_records.dag_dataset,
                    'task': sft_records.task,
                    'split': sft_records.split,
                    'line': sft_records.line,
                    'model': sft_records.model,
                    'kind': findings.finding.kind,
                    'value': findings.finding.value
                }
            )
        ) as found
    from findings
    inner join sft_records
        on findings.split = sft_records.split and findings.line = sft_records.line
),

judged as (
    select
        dags.incident_id,
        gathered.found.task,
        gathered.found.split,
        gathered.found.line,
        gathered.found.model,
        gathered.found.kind,
        gathered.found.value,
        regexp_matches(
            lower(replace(dags.text, 'İ', 'i̇')),
            '(?:^|[^0-9a-z.:])' || regexp_escape(gathered.found.value) || '(?:$|[^0-9a-z])'
        ) as in_full_dag
    from dags
    inner join gathered
        on dags.incident_id = gathered.found.incident_id and dags.dataset = gathered.found.dataset
)

select * from judged
order by split, line, kind, value
