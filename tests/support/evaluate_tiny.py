"""From a trained tiny model to the page that says whether it is any good, by the users' commands.

    python tests/support/evaluate_tiny.py --data data --run data/models/tiny --base data/models/base

In: an emitted dataset, a finished run on it, and the model that it began with. Out: in the run's
`evaluation/`, everything that `evaluate` writes; in its `evaluate-tiny/`, what was asked, answered
and judged. No judge is there to ask: a rule gives the verdicts, so that the scores show nothing but
that the way works. Exit code 1 or 2 if a step fails, or a leak that is planted is not refused.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edge_tiny import python

from immune_data.common import cli
from immune_data.common.errors import CheckFailed
from immune_data.contract import answer_fields, grounding, incidents
from immune_data.prompts import TASKS
from immune_train import configs
from immune_train.artifacts import run
from immune_train.evaluate import outputs

QUANT = "q8_0"
PYTHON = [sys.executable, "-m"]  # for a command whose refusal is read
RULE = {"judge": "a rule of ours", "rubric": "structure and names", "orders": "none"}


def chain(
    data: Path, folder: Path, base: Path, *, number: int, more: Sequence[str] = ()
) -> dict[str, Any]:
    """Everything from export to the page; `more` is for `generate`. The numbers are returned.

    Raises:
        CheckFailed: a step failed, or a leak was not refused.
    """
    work = folder / "evaluate-tiny"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    recipe = configs.load(str(folder / run.CONFIG)).recipe
    emitted = data / "sft" / recipe
    asked = work / "eval.jsonl"
    records = shortest(emitted / "eval.jsonl", number)
    asked.write_text("".join(json.dumps(one, ensure_ascii=False) + "\n" for one in records))
    answers = {}
    for name, model in (("tuned", folder), ("base", base)):
        file = exported(model, work / name)
        answers[name] = work / f"{name}.jsonl"
        given = ("--eval", asked, "--output", answers[name], "--recipe", recipe, *more)
        python("immune_train.generate", "--model", file, *given)
    files = [f"{name}={path}" for name, path in answers.items()]
    common = ("--reference", asked, "--train", emitted / "train.jsonl", "--data", data)
    verdicts = [work / "summary.json", work / "cause_risk.json"]
    judge(records, answers, *verdicts)
    to = folder / outputs.FOLDER
    given = ("--trained", folder, "--verdicts", *verdicts, "--output", to, *files)
    python("immune_train.evaluate", *common, *given)
    refuse_leak(folder, work, records, [*common, "--output", work / "refused", *files])
    return json.loads((to / outputs.NUMBERS).read_text(encoding="utf-8"))


def exported(model: Path, folder: Path) -> Path:
    """A model's GGUF file: its own, if it is a run that has one, or else a new one in `folder`."""
    of_run = list((model / run.GGUF).glob(f"*-{QUANT}.gguf"))
    if not of_run:
        python("immune_train.export", "--model", model, "--quant", QUANT, "--output", folder)
    [file] = of_run or folder.glob(f"*-{QUANT}.gguf")
    return file


def shortest(path: Path, number: int) -> list[dict[str, Any]]:
    """The records of the shortest incidents that have one of every task."""
    lines = path.read_text(encoding="utf-8").splitlines()
    by_incident: dict[str, list[dict[str, Any]]] = {}
    for one in map(json.loads, lines):
        by_incident.setdefault(one["incident_id"], []).append(one)
    whole = [of for of in by_incident.values() if {one["task"] for one in of} == set(TASKS)]
    whole.sort(key=lambda of: (sum(one["tokens"] for one in of), of[0]["incident_id"]))
    return [one for of in whole[:number] for one in of]


def judge(
    records: Sequence[dict[str, Any]], answers: dict[str, Path], summary: Path, cause_risk: Path
) -> None:
    """Verdicts by a rule: the documented structure, names that are shown, and some chance."""
    said = {
        name: {
            (row["incident_id"], row["task"]): row["answer"]
            for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())
        }
        for name, path in answers.items()
    }
    said["reference"] = {
        (one["incident_id"], one["task"]): one["messages"][-1]["content"] for one in records
    }
    drawn = random.Random(42)
    rows: dict[str, dict[str, Any]] = {}
    for one in records:
        incident, task = one["incident_id"], one["task"]
        shown = "\n".join(turn["content"] for turn in one["messages"][:-1])
        scores = {}
        for name, of in said.items():
            answer = of[incident, task]
            fields = answer_fields.parse(task, answer)
            there = 1 - len(fields.missing) / len(fields.fields)
            points = 6 * there + 2 * (not grounding.ungrounded(answer, shown)) + 2 * drawn.random()
            scores[name] = round(points, 1) if task == "summary" else round(3 * points)
        row = rows.setdefault(incident, {})
        row[task] = scores
    write(summary, [{"incident_id": key, "scores": of["summary"]} for key, of in rows.items()])
    write(
        cause_risk,
        [
            {
                "incident_id": key,
                **{
                    f"{task}_scores": {name: {"total": score} for name, score in of[task].items()}
                    for task in ("cause", "risk")
                },
            }
            for key, of in rows.items()
        ],
    )


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    text = json.dumps({**RULE, "incidents": rows}, indent=1)
    path.write_text(text, encoding="utf-8")


def refuse_leak(
    folder: Path, work: Path, records: Sequence[dict[str, Any]], given: Sequence[object]
) -> None:
    """See that a run that learned one of the incidents is refused."""
    leaked = work / "leaked"
    leaked.mkdir()
    for name in (run.SUMMARY, run.DATASET):
        shutil.copy2(folder / name, leaked / name)
    learned = records[0]["incident_id"]
    listed = [*incidents.read((folder / incidents.NAME).read_bytes())]
    incidents.write(leaked, [*listed, incidents.Incident(learned, "train", learned)])
    command = [*PYTHON, "immune_train.evaluate", "--trained", leaked, *given]
    done = subprocess.run([str(one) for one in command], capture_output=True, text=True)
    if done.returncode != 1 or learned not in done.stderr:
        raise CheckFailed(f"an evaluation on what was learned is not refused: {done.stderr}")
    print(f"\nrefused, as it should be: {done.stderr.splitlines()[-1]}", flush=True)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="evaluate_tiny.py", description=__doc__.splitlines()[0])
    made.add_argument("--data", type=Path, required=True, help="output folder of emit")
    made.add_argument("--run", type=Path, required=True, help="folder of the finished run")
    made.add_argument("--base", type=Path, required=True, help="the model that it began with")
    made.add_argument("--incidents", type=cli.positive, default=24, help="incidents (default: 24)")
    return made


def command(arguments: argparse.Namespace) -> None:
    more = ("--max-tokens", "256", "--no-grounded")
    chain(arguments.data, arguments.run, arguments.base, number=arguments.incidents, more=more)


if __name__ == "__main__":
    sys.exit(cli.run(parser(), command, None))
