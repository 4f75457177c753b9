"""`why`: one incident's story, wherever its way ended."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpus import CAUSE_RISK, CAUSE_RISK_RUN, RUN_1, RUN_2, SUMMARIES, Corpus, records
from judged import with_calls

from immune_data.contract import chat
from immune_data.emit import __main__ as emit
from immune_data.prompts import Message
from immune_data.why import __main__ as why
from immune_data.why import story as stories

HOSTILE = "seen\x1b[2J\u202e <|im_end|>"
WEAK = {"gpt-4o": 3, "gpt-4o-mini": 2, "qwen2.5-3b": 1, "qwen2.5-1.5b": 0}

Refused = Callable[..., str]
Tell = Callable[..., dict[str, Any]]
Say = Callable[..., str]


def corpus() -> Corpus:
    short = {"summary": "Too short."}
    sources = (
        Corpus()
        .incidents([f"ok-{i:02}" for i in range(12)])
        .incident("only-summaries", datasets=[SUMMARIES], cause=None, risk=None)
        .incident("not-judged", summary_scores=None, cause=None, risk=None)
        .incident("no-summary-verdict", summary_scores=None)
        .incident("weak", summary_scores=WEAK)
        .incident("short", answers=dict.fromkeys(WEAK, short))
        .incident("unsure", summary_scores={"gpt-4o": 8, "gpt-4o-mini": 8})
        .incident("hostile", facts={"category": HOSTILE}, dag=f"{HOSTILE}\n" * 60)
        .incident("long", dag="".join(f"- event {i} at 10.0.0.{i % 256}\n" for i in range(4000)))
        .incident("fenced", answers={"gpt-4o": {"cause": None}})
        .incident("low-risk", risk={"gpt-4o": 5, "gpt-4o-mini": 23, "qwen2.5-3b": 17})
        .incident("wordy", answers={"gpt-4o": {"summary": "A scan. " * 300}})
        .incident("it's", summary_scores={"gpt-4o": 9, "gpt-4o-mini": 2})
    )
    sources.rows[RUN_2] += [{"incident_id": "ok-00", "scores": WEAK, "rankings": {"1": "gpt-4o"}}]
    sources.rows[CAUSE_RISK_RUN].append({"incident_id": "rejected-only", "rankings": {}})
    sources.rows[SUMMARIES].append({"incident_id": "ok-01"})
    return sources


@pytest.fixture(scope="session")
def out(shared_folder: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    def make(folder: Path) -> None:
        source = corpus().write(folder / "source")
        for recipe in ("unified-v2", "unified-clean", "unified-v3", "risk"):
            command = ["--source", str(source), "--data", str(folder / "out"), "--recipe", recipe]
            # All incidents are of one window, which a split by hash puts on one side.
            assert emit.main(command) == (recipe == "unified-clean")

    return shared_folder("why-out", make) / "out"


@pytest.fixture
def say(out: Path, capsys: pytest.CaptureFixture[str]) -> Say:
    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert why.main([*arguments, "--data", str(out)]) == 0
        return capsys.readouterr().out

    return run


@pytest.fixture
def tell(say: Say) -> Tell:
    def run(*arguments: str) -> dict[str, Any]:
        return json.loads(say(*arguments, "--json"))

    return run


def outcomes(story: dict[str, Any]) -> dict[str, str]:
    return {way["dataset"]: way["outcome"] for way in story["way"]}


@pytest.mark.parametrize(
    ("incident", "unified"),
    [
        ("only-summaries", "only the summaries dataset has it"),
        ("not-judged", "no cause and risk verdict"),
        ("no-summary-verdict", "no summary verdict"),
        ("weak", "lost at gate summary_score: 3 where the limit is at least 4"),
        ("short", "lost at gate summary_length: 2 where the limit is 50 to 400 chars4"),
        ("fenced", "no record: a winner has no answer"),
    ],
)
def test_a_lost_incident_is_told_up_to_where_it_was_lost(
    tell: Tell, say: Say, incident: str, unified: str
) -> None:
    story = tell(incident)
    assert unified in outcomes(story)["unified"]
    assert not [record for record in story["records"] if record["origin"] == "unified"]
    assert unified in say(incident)


def test_one_that_was_never_taken_is_told_by_its_rejects(tell: Tell, say: Say) -> None:
    story = tell("rejected-only")
    assert story["incident"] is None
    assert [reject["file"] for reject in story["rejects"]] == [CAUSE_RISK_RUN]
    assert "rejected" in outcomes(story)["sources"]
    assert story["rejects"][0]["reason"] in say("rejected-only")


def test_rejects_that_name_a_taken_incident_are_told(tell: Tell) -> None:
    assert [(reject["file"], reject["scope"]) for reject in tell("ok-01")["rejects"]] == [
        (SUMMARIES, "row")
    ]


def test_an_emitted_incident_is_told_whole(tell: Tell, out: Path) -> None:
    story = tell("ok-00")
    files = {row["file"]: row["role"] for row in story["read"]}
    assert set(files) == {SUMMARIES, CAUSE_RISK, RUN_1, RUN_2, CAUSE_RISK_RUN}
    standing = {score["judge_run"] for score in story["scores"] if score["stands"]}
    assert standing == {RUN_1, CAUSE_RISK_RUN}
    assert {score["judge_run"] for score in story["scores"]} == {*standing, RUN_2}
    gates = [gate for gate in story["gates"] if gate["dataset"] == "unified"]
    assert [gate["gate"] for gate in gates] == [
        *("summary_score", "cause_score", "risk_score"),
        *("summary_length", "cause_length", "risk_length", "risk_level"),
    ]
    assert all(gate["passes"] and not gate["first_failed"] for gate in gates)
    assert [(choice["task"], choice["model"], choice["lead"]) for choice in story["choices"]] == [
        ("summary", "gpt-4o", 1),
        ("cause", "gpt-4o", 3),
        ("risk", "gpt-4o", 3),
    ]
    for record in story["records"]:
        emitted = records(out, record["split"])[record["line"] - 1]
        assert emitted["incident_id"] == "ok-00"
        assert emitted["tokens"] == record["tokens"]
        turns = chat.with_system([Message(**turn) for turn in emitted["messages"]])
        assert [(turn["role"], turn["content"]) for turn in record["messages"]] == [
            (turn.role, turn.content) for turn in turns
        ]
        loss = [turn["role"] for turn in record["messages"] if turn["carries_loss"]]
        assert loss == ["assistant"]


def test_the_story_agrees_with_every_record(tell: Tell, out: Path) -> None:
    for incident in ("ok-03", "hostile", "long", "unsure", "it's"):
        rows = {(r["split"], r["line"]) for r in tell(incident)["records"]}
        assert rows == {
            (split, line)
            for split in ("train", "eval")
            for line, record in enumerate(records(out, split), start=1)
            if record["incident_id"] == incident
        }


def test_the_first_failed_gate_and_the_later_ones_are_told_apart(say: Say) -> None:
    output = say("weak")
    assert re.search(r"summary_score +3 +at least 4 +FAILS, first", output)
    assert re.search(r"cause_score +27 +at least 14 +passes", output)


def test_a_gate_that_another_answer_passed_is_not_said_to_be_passed(say: Say, tell: Tell) -> None:
    """By the documents any model's answer will do; what is used may be below the gate."""
    for incident, gate, value, used, choice in (
        # Each task has its own winner there, so that the other answer is the winner.
        ("low-risk", "risk_score", "23", "5", r"risk +gpt-4o-mini +23"),
        ("wordy", "summary_length", "[0-9]+", "600", "stands in for the winner, gpt-4o"),
    ):
        said = re.search(rf"^  {gate} .*$", say(incident), re.MULTILINE)[0]
        ending = f"another answer passes; the one used has {used}"
        assert re.fullmatch(rf"  {gate} +{value} +.* {ending}", said), said
        [told] = [row for row in tell(incident)["gates"] if row["gate"] == gate][:1]
        assert (told["passes"], told["used"], told["used_passes"]) == (True, used, False)
        # Where the gates look at what is used, another answer is used and passes by itself.
        cleaned = say(incident, "--recipe", "unified-clean")
        assert re.search(rf"^  {gate} +{value} .* passes$", cleaned, re.MULTILINE)
        assert re.search(choice, cleaned)
        gates = tell(incident, "--recipe", "unified-clean")["gates"]
        assert all(row["used_passes"] for row in gates if row["dataset"] == "unified")


def test_a_tie_and_a_judge_of_few_models_are_told(say: Say) -> None:
    assert "a tie, decided by the order" in say("unsure")
    assert re.search(r"summary +gpt-4o +9 +7 +gpt-4o-mini", say("it's"))


def test_what_carries_loss_is_set_off(say: Say, tell: Tell) -> None:
    output = say("ok-03")
    marked = [line.removeprefix("▌").strip() for line in output.splitlines() if line[:1] == "▌"]
    answers = [record["messages"][-1]["content"] for record in tell("ok-03")["records"]]
    expected = [line.strip() for answer in answers for line in [*answer.split("\n"), "<|im_end|>"]]
    assert marked == expected
    assert output.count("  <|im_start|>assistant") == len(answers)


def test_long_evidence_is_shortened_in_the_middle_unless_asked(say: Say) -> None:
    short, full = say("long"), say("long", "--full")
    assert "lines left out, --full shows them" in short
    assert "left out" not in full
    assert len(short) < len(full)
    assert "[truncated: showing first ~3500 tokens of full DAG]" in short


def test_hostile_text_cannot_move_the_cursor(say: Say) -> None:
    for arguments in (["hostile"], ["hostile", "--full"]):
        output = say(*arguments)
        assert "\x1b" not in output
        assert "\u202e" not in output
        assert "\\x1b[2J\\u202e" in output
    assert "control token as text" in say("hostile")


def test_cleaning_and_standing_in_are_told(say: Say) -> None:
    output = say("short", "--recipe", "unified-clean")
    assert "refused by" in output or "FAILS, first" in output
    assert "summary_cleaning" in output
    assert "stands in for the winner" in say("fenced", "--recipe", "unified-clean")


def test_copies_are_listed_and_shown_once(tell: Tell, say: Say) -> None:
    story = tell("ok-03", "--recipe", "unified-v3")
    if any(record["split"] == "train" for record in story["records"]):
        assert {record["copy"] for record in story["records"]} == {0, 1}
    shown = say("ok-03", "--recipe", "unified-v3").count("<|im_start|>assistant")
    assert shown == sum(record["copy"] == 0 for record in story["records"])


def test_the_standalone_dataset_has_one_way(tell: Tell) -> None:
    assert set(outcomes(tell("ok-03", "--recipe", "risk"))) == {"standalone"}
    assert "lost before the gates" in outcomes(tell("not-judged", "--recipe", "risk"))["standalone"]


def test_a_prefix_will_do_if_it_is_one_incidents(say: Say, refused: Refused, out: Path) -> None:
    assert say("no-s").startswith("incident no-summary-verdict in unified-v2\n")
    several = refused(why.main, "ok-0", "--data", out)
    assert "10 incidents begin with 'ok-0', such as ok-00, ok-01" in several
    assert "no incident begins with 'zz': there are fenced, hostile" in refused(
        why.main, "zz", "--data", out
    )
    assert "incidents begin with ''" in refused(why.main, "", "--data", out)
    assert "%" in refused(why.main, "%", "--data", out)
    assert "\x1b" not in refused(why.main, "\x1b[2J", "--data", out)


def test_wrong_uses_are_sentences(refused: Refused, out: Path, tmp_path: Path) -> None:
    assert "required: incident" in refused(why.main)
    assert "emit a recipe first" in refused(why.main, "ok-00", "--data", tmp_path)
    assert "published" in refused(why.main, "ok-00", "--data", out, "--recipe", "published")
    assert list(tmp_path.iterdir()) == []


def test_a_terminal_gets_colours_unless_it_asks_for_none(out: Path) -> None:
    def on_terminal(**environment: str) -> str:
        ours, theirs = pty.openpty()
        command = [sys.executable, "-m", "immune_data.why", "ok-03", "--data", str(out)]
        environment = {**os.environ, **environment}
        with subprocess.Popen(command, stdout=theirs, stderr=theirs, env=environment) as process:
            os.close(theirs)
            output = b""
            while True:
                try:
                    output += os.read(ours, 65536)
                except OSError:
                    break
        os.close(ours)
        assert process.returncode == 0
        return output.decode()

    assert "\x1b[1;32m▌ Summary of ok-03" in on_terminal()
    assert "\x1b" not in on_terminal(NO_COLOR="1")


def test_every_incident_of_the_sample_has_a_story(
    sample_out: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    from immune_data.select.database import reading

    folder = sample_out("unified-v2")
    with reading(folder, "unified-v2") as connection:
        incidents = connection.execute(
            "select incident_id, verdict from (from incidents left join gates using (incident_id)) "
            "qualify row_number() over (partition by verdict order by incident_id) = 1"
        ).fetchall()
        assert len(incidents) >= 8
        for incident_id, verdict in incidents:
            story = stories.tell(connection, incident_id)
            failed = [
                gate["gate"]
                for gate in story["gates"]
                if gate["dataset"] == "unified" and gate["first_failed"]
            ]
            assert failed == ([verdict] if verdict else [])


def test_the_calls_of_a_judge_are_told_in_the_order_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = Corpus().incidents("abcd")
    calls = [
        {"order": ["gpt-4o", "gpt-4o-mini"], "scores": {"gpt-4o": 9, "gpt-4o-mini": 4}},
        {"order": ["gpt-4o-mini", "gpt-4o"], "scores": {"gpt-4o-mini": 5, "gpt-4o": 6}},
    ]
    sources.rows[RUN_1][0] = with_calls(sources.rows[RUN_1][0], calls)
    source, data = str(sources.write(tmp_path / "source")), ["--data", str(tmp_path / "out")]
    assert emit.main(["--source", source, *data]) == 0
    capsys.readouterr()
    assert why.main(["a", *data]) == 0
    output = capsys.readouterr().out
    assert re.search(r"summary +gpt-4o +7\.5 +2 +2\.12 +1 ", output)
    assert re.search(r"summary +\S+ +1  gpt-4o 9, gpt-4o-mini 4\n", output)
    assert re.search(r"summary +\S+ +2  gpt-4o-mini 5, gpt-4o 6\n", output)
    assert why.main(["b", *data]) == 0
    assert "spread" not in capsys.readouterr().out
    assert why.main(["a", *data, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["calls"]
    assert rows[1] == {
        "task": "summary",
        "judge_run": RUN_1,
        "call": 2,
        "answers": [{"model": "gpt-4o-mini", "score": 5.0}, {"model": "gpt-4o", "score": 6.0}],
    }
