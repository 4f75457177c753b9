-- severity: warn
-- A judge's total is not the sum of its three sub-scores.
with sums as (
    select
        incident_id,
        task,
        model,
        judge_run,
        score,
        case task
            when 'cause' then evidence_grounding + cause_specificity + alternative_hypotheses
            when 'risk' then risk_calibration + actionability + business_impact
        end as sum_of_sub_scores
    from judgements
)

select * from sums
where abs(score - sum_of_sub_scores) > 1e-6
order by incident_id, task, model, judge_run
