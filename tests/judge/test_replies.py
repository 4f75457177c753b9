"""Replies of judges: what is one, what is none, and the form that servers are told."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic_judge import BROKEN, Prompt, SyntheticJudge

from immune_data.contract.scales import SUB_SCORES
from immune_data.judge import replies
from immune_data.judge.answers import FIELDS
from immune_data.judge.rubric import KINDS

KIND = pytest.mark.parametrize("kind", sorted(KINDS))


def said(kind: str, labels: str, seed: int = 1) -> dict[str, Any]:
    answers = {label: {FIELDS[task]: label for task in KINDS[kind]} for label in labels}
    rng = random.Random(seed)
    judge = SyntheticJudge(lambda *_: rng.uniform(0, 10))
    return judge.said(Prompt({"incident": {"incident_id": "i"}}, answers, ""), rng)


@KIND
@given(labels=st.sampled_from(["A", "AB", "ABC", "ABCDEFGHIJ"]), seed=st.integers())
def test_a_sound_reply_is_read_as_it_stands(kind: str, labels: str, seed: int) -> None:
    reply = said(kind, labels, seed)
    for text in (json.dumps(reply), f"```json\n{json.dumps(reply, indent=1)}\n```\n"):
        assert replies.problem(text, kind, labels) is None
        found = replies.read(text, kind, labels)
        for task in KINDS[kind]:
            given_scores = reply["scores" if task == "summary" else f"{task}_scores"]
            for label in labels:
                scores = found.scores[task][label]
                if task == "summary":
                    assert scores == {"total": given_scores[label]}
                else:
                    assert scores == {**given_scores[label], "total": scores["total"]}
                    assert scores["total"] == sum(given_scores[label].values())


@KIND
@pytest.mark.parametrize("number", range(len(BROKEN)))
def test_a_broken_reply_is_none(kind: str, number: int) -> None:
    broken = BROKEN[number](said(kind, "ABCD"))
    problem = replies.problem(broken, kind, "ABCD")
    assert problem
    assert problem.replace("_", "").isalpha()


@KIND
@given(st.data())
def test_a_ranking_that_contradicts_the_scores_is_none(kind: str, data: st.DataObject) -> None:
    reply = said(kind, "ABCD", data.draw(st.integers()))
    reply["ranking"] = data.draw(st.permutations("ABCD"))
    sums = dict.fromkeys("ABCD", 0)
    for task in KINDS[kind]:
        for label, score in reply["scores" if task == "summary" else f"{task}_scores"].items():
            sums[label] += sum(score.values()) if SUB_SCORES[task] else score
    ranked = [sums[label] for label in reply["ranking"]]
    wrong = any(ranked[i] < ranked[i + 1] for i in range(3))
    expected = "ranking_contradicts_scores" if wrong else None
    assert replies.problem(json.dumps(reply), kind, "ABCD") == expected


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4)
        ),
    )
)
def test_anything_at_all_is_none(value: Any) -> None:
    assert replies.problem(json.dumps(value), "summary", "AB")
    assert replies.problem(str(value), "cause_risk", "AB")


@KIND
@pytest.mark.parametrize("labels", ["A", "ABCD"])
def test_the_schema_and_the_words_are_those_of_a_sound_reply(kind: str, labels: str) -> None:
    reply = said(kind, labels)
    schema = replies.schema(kind, labels)
    _follows(reply, schema)
    assert list(schema["properties"]) == list(reply)
    told = replies.form(kind, ranked=len(labels) > 1)
    for name in reply:
        assert f'"{name}":' in told
    assert ("ranking" in told) == (len(labels) > 1)


def _follows(value: Any, schema: dict[str, Any]) -> None:
    """A plain reading of the few words of JSON schema that are used."""
    if schema["type"] == "object":
        assert set(value) == set(schema["required"]) == set(schema["properties"])
        assert schema["additionalProperties"] is False
        for name, of in schema["properties"].items():
            _follows(value[name], of)
    elif schema["type"] == "array":
        assert schema["minItems"] <= len(value) <= schema["maxItems"]
        for item in value:
            _follows(item, schema["items"])
    else:
        assert isinstance(value, {"string": str, "integer": int}[schema["type"]])
        assert value in schema.get("enum", [value])
