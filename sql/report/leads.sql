-- leads: one row per deciding score, model with the best one, and lead over the next (null if no
-- other was judged): how many pool incidents.
select
    leads.decided_on as task,
    leads.model,
    leads.lead,
    count(*) as incidents
from leads
inner join pool on leads.incident_id = pool.incident_id
where leads.decided_on <> 'cause and risk' and leads.place = 1
group by leads.decided_on, leads.model, leads.lead
order by
    list_position(['summary', 'cause', 'risk'], leads.decided_on) asc,
    leads.model asc,
    leads.lead asc
