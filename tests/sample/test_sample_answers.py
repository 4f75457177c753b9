"""Answers of the sample corpus keep to the prompts and to what condensed evidence shows.

All but those in which the plan puts a fault. What is a name is decided here by code of its own.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from functools import cache
from pathlib import Path
from string import hexdigits

import pytest
from corpus import query
from samples import Sample

from immune_data.contract import answer_fields, evidence
from immune_data.sample import __main__ as sample
from immune_data.sample import plan

# Forms whose text is broken as a whole, or is not an answer.
BROKEN = ("error", "echo", "cut", "chars", "words", "cjk", "no_level")
TOKEN = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z_.:/-]*[0-9A-Za-z_])?")
TIME = re.compile(r"(?<![\w:.])\d\d:\d\d(?![\w:])")


@cache
def kind_of(token: str) -> str:
    """What a token names, or nothing."""
    try:
        ipaddress.ip_address(token)
        return "address"
    except ValueError:
        pass
    if "/" in token:
        try:
            ipaddress.ip_network(token, strict=False)
            return "network"
        except ValueError:
            return "port" if re.fullmatch(r"\d+/(TCP|UDP)", token) else ""
    for kind, of in (
        ("mac", r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}"),
        ("hash", r"[0-9a-f]{32}"),
        ("list_id", r"SBL\d+"),
        ("domain", r"[\w-]+(?:\.[\w-]+)*\.(?:example|com|net|org)"),
    ):
        if re.fullmatch(of, token):
            return kind
    return ""


def names(text: str) -> set[tuple[str, str]]:
    """The names in a text: of `203.0.113.5:443` the address and the port."""
    found = set()
    for token in set(TOKEN.findall(text)):
        address, _, port = token.rpartition(":")
        if kind_of(address) == "address" and not kind_of(token):
            found |= {("address", address), ("port", port)}
        elif kind := kind_of(token):
            found.add((kind, token.partition("/")[0] if kind == "port" else token))
    found |= {("port", port) for port in re.findall(r"\bports? (\d+)", text)}
    found |= {("severity", tag) for tag in re.findall(r"\[([A-Z]+)\]", text)}
    found |= {("time", time) for time in TIME.findall(text)}
    return found


def unshown(answer: set[tuple[str, str]], condensed: set[tuple[str, str]], dag: str) -> set[str]:
    """The kinds of what an answer names and one of the two forms of evidence does not show."""
    numbers = {name for _, name in condensed}
    return {
        kind
        for kind, name in answer
        if name not in dag
        or not ((kind, name) in condensed or (kind == "port" and name in numbers))
    }


def closing(text: str) -> list[str]:
    return re.findall(r"^(?:Total Evidence|Severity breakdown): .*$", text, re.MULTILINE)


@pytest.fixture(scope="session")
def corpus(sample_source: Path) -> Sample:
    return Sample(sample_source)


@pytest.mark.parametrize("seed", [0, 9])
def test_answers_name_what_both_forms_of_evidence_show_unless_planted(
    seed: int, sample_of: Callable[[int], Path], pytestconfig: pytest.Config
) -> None:
    """Of the other seed, those to a fourth of the incidents; thorough, all."""
    corpus = Sample(sample_of(seed), seed)
    part = "0123" if seed and not pytestconfig.getoption("--thorough") else hexdigits
    dag, shown = "", set()
    grounded = planted = 0
    for answer in corpus.answers():
        if answer.form.shape in ("error", "echo", "cut") or answer.place[0][0] not in part:
            continue
        if answer.dag != dag:
            dag = answer.dag
            condensed = evidence.condense(dag, 8)
            shown = names(condensed) | {("number", n) for n in re.findall(r"\d+", condensed)}
        missing = unshown(names(answer.text), shown, dag)
        fault = answer.form.fault
        if fault in (*plan.UNSHOWN, "severity"):
            assert fault in missing, answer
            planted += 1
        else:
            assert not missing, answer
            grounded += 1
    assert 0 < planted / (planted + grounded) < 0.1


def test_summaries_end_in_the_closing_lines_of_their_evidence_unless_planted(
    corpus: Sample,
) -> None:
    wrong: Counter = Counter()
    for answer in corpus.answers():
        if answer.task == "summary" and answer.form.shape not in BROKEN:
            if closing(answer.text) != closing(answer.dag):
                wrong[answer.form.fault] += 1
            if answer.form.fault in ("event_total", "breakdown"):
                wrong[answer.form.fault] -= 1
    # Each of them planted, and each that is planted wrong.
    assert wrong == {"event_total": 0, "breakdown": 0}


def test_answers_have_the_structure_of_their_prompts_unless_planted(corpus: Sample) -> None:
    loose = whole = 0
    for answer in corpus.answers():
        odd = corpus.roles[answer.incident["incident_id"]].evidence
        if answer.form.shape in BROKEN or odd in ("unknown", "start_time"):
            continue
        text = answer.text.strip("`").partition("\n")[2] if "```" in answer.text else answer.text
        missing = set(answer_fields.parse(answer.task, text).missing)
        missing -= {"investigation_priority"} if answer.task == "risk" else set()
        if answer.form.fault == "loose":
            loose += 1
            continue
        assert not missing, answer
        whole += 1
        if answer.task == "summary" and answer.form.fault != "rules":
            bullets = [line for line in text.split("\n") if line.startswith("•")]
            assert all(
                re.fullmatch(r"• \d\d:\d\d(?:-\d\d:\d\d)? - .+ \[[A-Z]+\]", b) for b in bullets
            )
            assert text.startswith("=" * 60 + "\nIncident: ")
    assert whole > 20 * loose > 0


def test_the_winner_of_a_planted_fault_has_it_and_the_next_best_is_sound(corpus: Sample) -> None:
    found: Counter = Counter()
    answers = {answer.place: answer for answer in corpus.answers()}
    for one in corpus.planted.values():
        if not one.wins:
            continue
        found[one.task, one.fault] += 1
        verdict = plan.verdict(0, corpus.roles[one.incident_id])
        scores = {"summary": verdict.summary, "cause": verdict.cause, "risk": verdict.risk}
        first, second = sorted(scores[one.task], key=scores[one.task].get, reverse=True)[:2]
        assert first == one.model
        assert scores[one.task][first] > scores[one.task][second]
        assert scores[one.task][second] >= {"summary": 4, "cause": 14, "risk": 10}[one.task]
        assert answers[one.incident_id, one.task, first].form.fault == one.fault
        assert answers[one.incident_id, one.task, second].form == plan.NATURAL
    assert found == {
        (task, fault): count
        for task, faults in plan.PLANTED.items()
        for fault, count in Counter(faults).items()
    }


def test_what_else_is_planted_is_in_the_text(corpus: Sample) -> None:
    seen = set()
    for answer in corpus.answers():
        fault, text = answer.form.fault, answer.text
        level = re.search(r"\*\*Risk Level:\*\* (\w+)", text)
        match fault:
            case "rules":
                assert text.endswith("\n" + "=" * 60)
            case "noise":
                assert re.search(r"^Threat Level: \d+\.\d\d0{10,}5 \|", text, re.MULTILINE)
            case "contradicted":
                assert answer.incident["category"] == "Normal"
                assert level[1].title() in ("High", "Critical")
            case "mild":
                assert answer.incident["category"] == "Malware"
                assert level[1].title() == "Low"
            case _:
                assert not text.endswith("=")
                assert not re.search(r"\d\.\d{5}", text)
                continue
        seen.add(fault)
    assert seen == {"rules", "noise", "contradicted", "mild"}


def test_levels_suit_the_category_unless_planted_and_one_model_knows_but_one(
    corpus: Sample,
) -> None:
    levels: dict[str, Counter] = defaultdict(Counter)
    for answer in corpus.answers():
        said = re.search(r"\*\*Risk Level:\*\* (Critical|High|Medium|Low)\b", answer.text, re.I)
        if answer.task == "risk" and said and answer.form.fault not in ("contradicted", "mild"):
            levels[answer.model][said[1].title()] += 1
            wrong = ("Low",) if answer.incident["category"] == "Malware" else ("Critical", "High")
            assert said[1].title() not in wrong
    assert {model: set(found) for model, found in levels.items() if len(found) == 1} == {
        model: {level} for model, level in plan.CONSTANT_LEVEL.items()
    }
    assert all(len(levels[model]) == 4 for model in levels.keys() - plan.CONSTANT_LEVEL)


_CHECKS = {
    "ungrounded": {*("address", "network", "port", "domain", "mac", "hash", "list_id")},
    "event_total": {"event_total"},
    "closing_lines": {"event_total", "breakdown"},
    "time_not_in_evidence": {"time"},
    "category_contradicted": {"contradicted", "mild"},
}


@pytest.mark.parametrize("check", _CHECKS)
def test_the_audit_finds_nothing_that_is_not_planted(
    check: str, corpus: Sample, sample_out: Callable[[str], Path]
) -> None:
    audit = Path(sample.__file__).parents[2] / "sql" / "audit" / f"{check}.sql"
    rows = query(
        sample_out("unified-clean"),
        f"select incident_id, task, model from ({audit.read_text()})",
        "unified-clean",
    )
    assert set(rows) <= corpus.planted.keys()


@pytest.mark.parametrize("check", _CHECKS)
def test_the_audit_finds_what_is_planted_and_not_refused(
    check: str, corpus: Sample, sample_out: Callable[[str], Path]
) -> None:
    audit = Path(sample.__file__).parents[2] / "sql" / "audit" / f"{check}.sql"
    tasks = "'summary'" if check in ("closing_lines", "time_not_in_evidence") else "task"
    emitted = query(
        sample_out("unified-v2"),
        "select incident_id, task, model from conversations "
        f"where not dag_truncated and task = {tasks}",
        "unified-v2",
    )
    found = query(
        sample_out("unified-v2"),
        f"select incident_id, task, model from ({audit.read_text()})",
        "unified-v2",
    )
    planted = {place for place, one in corpus.planted.items() if one.fault in _CHECKS[check]}
    assert planted & set(emitted)
    assert planted & set(emitted) <= set(found)
