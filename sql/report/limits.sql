-- limits: one row: the lowest score of each task that passes the gates.
select
    summary_score_min as summary,
    cause_total_min as cause,
    risk_total_min as risk
from settings
