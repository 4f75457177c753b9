-- severity: warn
-- reads: conversations, made by immune_data/emit/records.py
-- A record's answer names something that the model was not shown: an IP address, a network, a port,
-- a domain, a MAC address, a hash, an identifier of a list, a severity in brackets or a total of
-- events (rule 14). A range does not show the numbers in it, nor a network its addresses.
-- `in_full_dag` is whether the name is in the part of the DAG that is not shown.
with answers as (
    select
        split,
        line,
        messages,
        -- In Python, which does the same check, İ in lower case keeps its dot above the i.
        lower(replace(messages[-1].content, 'İ', 'i̇')) as answer
    from conversations
),

named as (
    select
        split,
        line,
        messages,
        regexp_extract_all(
            answer,
            '\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}\b'
            || '|\b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?'
        ) as addresses,
        regexp_extract_all(
            answer,
            '\b\d{1,3}(?:\.\d{1,3}){3}/\d{1,2}\b|\b(?:[0-9a-f]{1,4}:){1,7}(?:[0-9a-f]{1,4}'
            || '|:[0-9a-f]{0,4})(?::[0-9a-f]{1,4})*/\d{1,3}\b'
        ) as networks,
        regexp_extract_all(
            array_to_string(
                list_concat(
                    regexp_extract_all(
                        answer,
                        '(?:\bports?(?:\(s\)| numbers?)?:?[\t\n\f\r ]*|\.\d{1,3}:'
                        || '|\}:)[\[{''\x22]*(\d{1,5}(?:(?:''?[\t\n\f\r ]*,[\t\n\f\r ]*''?(?:a'
                        || 'nd[\t\n\f\r ]+|or[\t\n\f\r ]+)?|[\t\n\f\r ]+(?:and'
                        || '|or)[\t\n\f\r ]+|[\t\n\f\r ]*/[\t\n\f\r ]*)\d{1,5}\b)*)\b',
                        1
                    ),
                    regexp_extract_all(
                        answer,
                        '\b(\d{1,5})/(?:tcp|udp)\b',
                        1
                    )
                ),
                ' '
            ),
            '\d+'
        ) as ports,
        regexp_extract_all(
            answer,
            '\b(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+(?:com|net|org|info|biz|io|co'
            || '|ai|app|dev|cloud|online|site|xyz|top|club|shop|tech|live|ru|cn|de|uk|fr|nl'
            || '|eu|us|br|it|jp|kr|es|pl|cz|sk|se|no|fi|ch|at|be|ca|au|ir|ua|tr|tk|ml|ga|cf'
            || '|gq|pw|cc|tv|me|ws|su|to|edu|gov|mil|int|arpa|local|lan|internal|test|example'
            || '|onion)\b'
        ) as domains,
        regexp_extract_all(
            answer,
            '\b[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?:-[0-9a-f]{2}){5})\b'
        ) as macs,
        regexp_extract_all(
            answer,
            '\b(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})\b'
        ) as digests,
        regexp_extract_all(
            answer,
            '\bsbl\d+\b'
        ) as list_ids,
        regexp_extract_all(
            answer,
            '\[(?:critical|high|medium|low|info)\]'
        ) as severity_tags,
        regexp_extract_all(
            replace(
                array_to_string(
                    regexp_extract_all(
                        answer,
                        '(?:\btotal (?:evidence|events)'
                        || '|\|[\t *_]*events)[\t *_]*:[\t *_]*(\d+(?:,\d{3})*)',
                        1
                    ),
                    ' '
                ),
                ',',
                ''
            ),
            '\d+'
        ) as event_totals
    from answers
),

-- The text shown is long: it is searched only if the answer names something, and for that kind.
shown as (
    select
        named.split,
        named.line,
        named.addresses,
        named.networks,
        named.ports,
        named.domains,
        named.macs,
        named.digests,
        named.list_ids,
        named.severity_tags,
        named.event_totals,
        lower(
            replace(
                array_to_string([turn.content for turn in named.messages[:-2]], chr(10)),
                'İ',
                'i̇'
            )
        ) as shown
    from named
    where
        len(named.addresses)
        + len(named.networks)
        + len(named.ports)
        + len(named.domains)
        + len(named.macs)
        + len(named.digests)
        + len(named.list_ids)
        + len(named.severity_tags)
        + len(named.event_totals) > 0
),

held as (
    select
        split,
        line,
        addresses,
        networks,
        ports,
        domains,
        macs,
        digests,
        list_ids,
        severity_tags,
        event_totals,
        case
            when len(addresses) > 0
                then regexp_extract_all(
                    shown,
                    '\b\d{1,3}(?:\.\d{1,3}){3}\b|\b(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}\b'
                    || '|\b(?:[0-9a-f]{1,4}:){1,7}:(?:[0-9a-f]{1,4}(?::[0-9a-f]{1,4})*)?'
                )
        end as addresses_shown,
        case
            when len(networks) > 0
                then regexp_extract_all(
                    shown,
                    '\b\d{1,3}(?:\.\d{1,3}){3}/\d{1,2}\b'
                    || '|\b(?:[0-9a-f]{1,4}:){1,7}(?:[0-9a-f]{1,4}'
                    || '|:[0-9a-f]{0,4})(?::[0-9a-f]{1,4})*/\d{1,3}\b'
                )
        end as networks_shown,
        case
            when len(ports) > 0
                then regexp_extract_all(
                    array_to_string(
                        list_concat(
                            regexp_extract_all(
                                shown,
                                '(?:\bports?(?:\(s\)| numbers?)?:?[\t\n\f\r ]*|\.\d{1,3}:'
                                || '|\}:)[\[{''\x22]*(\d{1,5}(?:(?:''?[\t\n\f\r ]*,[\t\n\f\r ]'
                                || '*''?(?:and[\t\n\f\r ]+|or[\t\n\f\r ]+)?'
                                || '|[\t\n\f\r ]+(?:and|or)[\t\n\f\r ]+'
                                || '|[\t\n\f\r ]*/[\t\n\f\r ]*)\d{1,5}\b)*)\b',
                                1
                            ),
                            regexp_extract_all(
                                shown,
                                '\b(\d{1,5})/(?:tcp|udp)\b',
                                1
                            )
                        ),
                        ' '
                    ),
                    '\d+'
                )
        end as ports_shown,
        case
            when len(domains) > 0
                then regexp_extract_all(
                    shown,
                    '\b(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?\.)+(?:com|net|org|info'
                    || '|biz|io|co|ai|app|dev|cloud|online|site|xyz|top|club|shop|tech|live'
                    || '|ru|cn|de|uk|fr|nl|eu|us|br|it|jp|kr|es|pl|cz|sk|se|no|fi|ch|at|be|ca'
                    || '|au|ir|ua|tr|tk|ml|ga|cf|gq|pw|cc|tv|me|ws|su|to|edu|gov|mil|int|arpa'
                    || '|local|lan|internal|test|example|onion)\b'
                )
        end as domains_shown,
        case
            when len(macs) > 0
                then regexp_extract_all(
                    shown,
                    '\b[0-9a-f]{2}(?:(?::[0-9a-f]{2}){5}|(?:-[0-9a-f]{2}){5})\b'
                )
        end as macs_shown,
        case
            when len(digests) > 0
                then regexp_extract_all(
                    shown,
                    '\b(?:[0-9a-f]{64}|[0-9a-f]{40}|[0-9a-f]{32})\b'
                )
        end as digests_shown,
        case
            when len(list_ids) > 0
                then regexp_extract_all(
                    shown,
                    '\bsbl\d+\b'
                )
        end as list_ids_shown,
        case
            when len(severity_tags) > 0
                then regexp_extract_all(
                    shown,
                    '\[(?:critical|high|medium|low|info)\]'
                )
        end as severity_tags_shown,
        case
            when len(event_totals) > 0
                then regexp_extract_all(
                    replace(
                        array_to_string(
                            regexp_extract_all(
                                shown,
                                '(?:\btotal (?:evidence|events)'
                                || '|\|[\t *_]*events)[\t *_]*:[\t *_]*(\d+(?:,\d{3})*)',
                                1
                            ),
                            ' '
                        ),
                        ',',
                        ''
                    ),
                    '\d+'
                )
        end as event_totals_shown
    from shown
),

ungrounded as (
    select
        split,
        line,
        list_concat(
            [
                { 'kind': 'address', 'value': name }
                for name in list_distinct(addresses)
                if not list_contains(addresses_shown, name)
            ],
            [
                { 'kind': 'network', 'value': name }
                for name in list_distinct(networks)
                if not list_contains(networks_shown, name)
            ],
            [
                { 'kind': 'port', 'value': name }
                for name in list_distinct(ports)
                if not list_contains(ports_shown, name)
            ],
            [
                { 'kind': 'domain', 'value': name }
                for name in list_distinct(domains)
                if not list_contains(domains_shown, name)
            ],
            [
                { 'kind': 'mac', 'value': name }
                for name in list_distinct(macs)
                if not list_contains(macs_shown, name)
            ],
            [
                { 'kind': 'hash', 'value': name }
                for name in list_distinct(digests)
                if not list_contains(digests_shown, name)
            ],
            [
                { 'kind': 'list_id', 'value': name }
                for name in list_distinct(list_ids)
                if not list_contains(list_ids_shown, name)
            ],
            [
                { 'kind': 'severity_tag', 'value': name }
                for name in list_distinct(severity_tags)
                if not list_contains(severity_tags_shown, name)
            ],
            [
                { 'kind': 'event_total', 'value': name }
                for name in list_distinct(event_totals)
                if not list_contains(event_totals_shown, name)
            ]
        ) as findings
    from held
),

findings as (
    select
        split,
        line,
        unnest(findings) as finding
    from ungrounded
),

-- Through one list, so that DuckDB plans the result as few rows: these are kept in memory while the
-- DAGs' texts are scanned, and never the other way round.
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
