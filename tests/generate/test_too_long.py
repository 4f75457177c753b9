"""Evidence that is too long for its place: no record holds it, and no model is asked."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from corpus import CAUSE_RISK, TASKS, Corpus, many_kinds, query

from immune_data import recipes
from immune_data.common.errors import ImmuneError
from immune_data.contract.incident import Incident
from immune_data.emit import __main__ as emit
from immune_train.edge.questions import Asker

KINDS = (1, 5, 12, 16, 20, 30, 60, 80, 120)


@pytest.mark.parametrize("base", ["unified-clean", "unified-edge"])
@pytest.mark.parametrize(
    ("values", "says"),
    [
        ("[dag]\nlimit = 600", "the recipe's limit is 600"),
        ("[records]\nmax_sequence_tokens = 2400", "the context holds 2400"),
        ("", "the context holds 4096"),
    ],
)
def test_what_gives_no_record_is_not_asked_about(
    base: str, values: str, says: str, tmp_path: Path
) -> None:
    recipe = tmp_path / "tight.toml"
    recipe.write_text(f'description = "x"\nextends = "{base}"\n{values}\n')
    corpus = Corpus()
    for kinds in KINDS:
        facts = {"source_ip": f"10.9.0.{kinds}"}  # so that not all are on one side
        corpus.incident(f"i{kinds:03}", dag=many_kinds(kinds), facts=facts)
    source, out = corpus.write(tmp_path / "source"), tmp_path / "out"
    emit.emit(source, out, recipes.load(str(recipe)))
    rule = "select distinct incident_id, task from cleaning where rule = 'evidence_too_long'"
    refused = set(query(out, rule, "tight"))

    asker, not_asked, said = Asker(str(recipe)), set(), []
    for row in corpus.rows[CAUSE_RISK]:
        incident = msgspec.convert(row, Incident)
        for task in TASKS:
            try:
                asker.questions(incident, [task])
            except ImmuneError as error:
                said.append(str(error))
                not_asked.add((incident.incident_id, task))
    assert not_asked == refused
    assert {incident for incident, _ in refused} < {f"i{kinds:03}" for kinds in KINDS}
    assert all("even with each kind of event once" in sentence for sentence in said)
    assert any(says in sentence for sentence in said)
