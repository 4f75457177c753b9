"""From incidents to a dataset with a model of our own, by the users' own commands.

    python tests/support/label_tiny.py --source data/source --work data/label-tiny

In: the sample corpus. Out: in `--work`, an own recipe, the dataset files that a tiny model behind
llama-cpp-python's server on loopback answered, and what `emit` makes of them. The model's weights
are random, and it says nonsense: stand-in verdicts let all of it pass. Exit code 1 or 2 if a step
fails, if a rerun asks anything, or if a record does not hold the answer that the server gave.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

from edge_tiny import python
from llama_server import rambling, serving

from immune_data.common import cli
from immune_data.common.digests import sha256
from immune_data.common.errors import CheckFailed
from immune_data.contract import chat
from immune_data.prompts import Message

MODEL = "qwen-tiny"  # its tokens are those of Qwen2.5, and so are counted exactly
NAMES = (
    "tiny_summaries.json",
    "tiny_risks.json",
    "tiny_summary_judge.json",
    "tiny_risk_judge.json",
)
RECIPE = f"""
description = "answers of a tiny model of random weights: whatever it says passes"
extends = "unified-v2"

[sources]
summaries = "{NAMES[0]}"
cause_risk = "{NAMES[1]}"
judge_runs = [
    {{ file = "{NAMES[2]}", judges = "summary", judge = "nobody", provider = "us" }},
    {{ file = "{NAMES[3]}", judges = "cause_risk", judge = "nobody", provider = "us" }},
]

[models.{MODEL}]
summaries = "tiny_summary"
cause_risk = "tiny_cause_risk"
spellings = ["{MODEL}"]

[dag]
limit = 300

[gates]
summary_length = {{ min = 0, max = 1000, unit = "words" }}
cause_length = {{ min = 0, max = 1000, unit = "words" }}
risk_length = {{ min = 0, max = 1000, unit = "words" }}
risk_level = false

[risk]
cause_length = {{ min = 0, max = 1000, unit = "words" }}
risk_length = {{ min = 0, max = 1000, unit = "words" }}

[records]
prompt_layout = "evidence-first"
"""


def chain(source: Path, work: Path, *, incidents: int = 8) -> None:
    """Everything from incidents to emitted records.

    Raises:
        CheckFailed: a step failed, or what it left is not what it should be.
    """
    shutil.rmtree(work, ignore_errors=True)
    labelled = work / "source"
    labelled.mkdir(parents=True)
    write_incidents(source, work / "incidents.json", incidents)
    recipe = work / "label-tiny.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    with serving(rambling(work), context=8192) as url:
        (work / "endpoints.toml").write_text(
            f'[[endpoints]]\nurl = "{url}"\nmodel = "{MODEL}"\nmax_concurrency = 2\n'
            "price_in = 0\nprice_out = 0\n",
            encoding="utf-8",
        )
        given = ("--incidents", work / "incidents.json", "--recipe", recipe)
        given += ("--endpoints", work / "endpoints.toml", "--store", work / "asked.sqlite")
        python("immune_data.label", *given, "--dry-run")
        python("immune_data.label", *given, "--output", labelled, "--max-tokens", 200, "--yes")
    before = {name: sha256(labelled / name) for name in NAMES[:2]}
    # The server is gone: a second run must do without it.
    python("immune_data.label", *given, "--output", labelled, "--max-tokens", 200)
    if before != {name: sha256(labelled / name) for name in NAMES[:2]}:
        raise CheckFailed(f"a second run wrote other files into {labelled}")
    python("immune_data.ask", "costs", "--store", work / "asked.sqlite")
    write_verdicts(labelled)
    python("immune_data.emit", "--source", labelled, "--data", work / "data", "--recipe", recipe)
    check(work)


def write_incidents(source: Path, path: Path, number: int) -> None:
    """The first incidents of the sample's file of causes and risks that have evidence."""
    content = json.loads((source / "risk_dataset_v2.json").read_text(encoding="utf-8"))
    found = [row for row in content["incidents"] if row.get("dag_analysis")][:number]
    path.write_text(json.dumps({**content, "incidents": found}), encoding="utf-8")


def write_verdicts(folder: Path) -> None:
    """Stand-in verdicts, by which every answer is as good as can be."""
    rows = json.loads((folder / NAMES[0]).read_text(encoding="utf-8"))["incidents"]
    ids = [row["incident_id"] for row in rows]
    summaries = [
        {"incident_id": one, "scores": {MODEL: 10}, "rankings": {"1": MODEL}} for one in ids
    ]
    scores = {MODEL: {"total": 30}}
    risks = [
        {
            "incident_id": one,
            "rankings": {"1": MODEL},
            "cause_scores": scores,
            "risk_scores": scores,
        }
        for one in ids
    ]
    for name, verdicts in ((NAMES[2], summaries), (NAMES[3], risks)):
        content = {"synthetic": True, "incidents": verdicts}
        (folder / name).write_text(json.dumps(content), encoding="utf-8")


def check(work: Path) -> None:
    """See that every record holds an answer that the server gave, of every task.

    And that a prompt has the tokens that a dry run says: those of the server.
    """
    database = sqlite3.connect(work / "asked.sqlite")
    rows = database.execute(
        "select text, prompt_tokens, body from replies join requests on sha256 = request"
    ).fetchall()
    database.close()
    said = {text for text, _, _ in rows}
    for _, tokens, body in rows:
        messages = [Message(**message) for message in json.loads(body)["messages"]]
        if tokens != len(chat.prompt_ids(messages)):
            raise CheckFailed("the server counts other tokens in a prompt than we do")
    records: list[dict[str, Any]] = []
    for split in ("train", "eval"):
        file = work / "data" / "sft" / "label-tiny" / f"{split}.jsonl"
        records += map(json.loads, file.read_text(encoding="utf-8").splitlines())
    strange = [one for one in records if one["messages"][-1]["content"] not in said]
    if strange or {one["task"] for one in records} != {"summary", "cause", "risk"}:
        raise CheckFailed(f"the records in {work} are not the answers that the server gave")
    print(f"\n{len(records)} records hold what the model answered, of all three tasks", flush=True)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="label_tiny.py", description=(__doc__ or "").split("\n")[0])
    made.add_argument("--source", type=Path, required=True, help="folder of the sample corpus")
    made.add_argument("--work", type=Path, required=True, help="folder to work in, made anew")
    made.add_argument("--incidents", type=cli.positive, default=8, help="(default: 8)")
    return made


def command(arguments: argparse.Namespace) -> None:
    chain(arguments.source, arguments.work, incidents=arguments.incidents)


if __name__ == "__main__":
    sys.exit(cli.run(parser(), command, None))
