"""Have a model judge answers by a rubric, blind: incidents and answers in, verdicts out."""
