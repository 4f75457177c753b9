-- accounts: one row per outcome of an incident: how many incidents have it, by task.
select
    coalesce(reason, 'emitted: ' || array_to_string(splits, ' and ')) as account,
    count(*) filter (where task = 'summary') as summary,
    count(*) filter (where task = 'cause') as cause,
    count(*) filter (where task = 'risk') as risk
from accounts
group by account, reason
order by reason is not null asc, cause desc, account asc
