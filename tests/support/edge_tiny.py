"""From a trained run to a model that was published, downloaded and run, by the users' own commands.

    python tests/support/edge_tiny.py --data data --run data/models/tiny

In: an emitted dataset and a finished run on it. Out: the run's `gguf/`, `scores.json`, `scores.svg`
and `publish/`, and in its `edge/` what was asked and answered. The Hub is a loopback server.
Exit code 1 or 2 if a step fails, or the downloaded model does not answer as the local one.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from hub_server import TOKEN, HubServer

from immune_data.common import cli
from immune_data.common.digests import sha256
from immune_data.common.errors import CheckFailed
from immune_data.contract import answer_fields
from immune_data.prompts import TASKS
from immune_train import configs
from immune_train.artifacts import run
from immune_train.data import dataset
from immune_train.export.quantise import DEFAULT as QUANTS

REPO = "acme/tiny"
EVAL, INCIDENT = "eval.jsonl", "incident.json"
CACHE = "cache"


def chain(data: Path, folder: Path, *, records: int = 6, more: Sequence[str] = ()) -> None:
    """Everything from export to the downloaded model's answers; `more` is for `generate`.

    Raises:
        CheckFailed: a step failed, or what it left is not what it should be.
    """
    work = folder / "edge"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir()
    asked = write_eval(data, folder, work / EVAL, records)
    write_incident(data, asked, work / INCIDENT)

    python("immune_train.export", "--model", folder, "--eval", work / EVAL, "--quant", *QUANTS)
    files = {quant: folder / run.GGUF / f"{folder.name}-{quant}.gguf" for quant in QUANTS}

    answers = {quant: work / f"answers-{quant}.jsonl" for quant in QUANTS}
    for quant, file in files.items():
        reading = ("--eval", work / EVAL, "--output", answers[quant])
        python("immune_train.generate", "--model", file, *reading, *more)
        check_answers(answers[quant], asked)

    named = [f"{quant}={path}" for quant, path in answers.items()]
    written = ("--output", folder / "scores.json", "--figure", folder / "scores.svg")
    python("immune_train.score", "--reference", work / EVAL, *named, *written)

    local = files[QUANTS[0]]
    downloaded = publish_and_download(folder, local, work)
    here = answer(local, work / INCIDENT, work / "here.json", more)
    there = answer(downloaded, work / INCIDENT, work / "there.json", more)
    if here != there:
        raise CheckFailed(f"{downloaded} does not answer as the file that was published")
    print(f"\nthe downloaded model answers as the local one: {', '.join(here)}", flush=True)


def write_eval(data: Path, folder: Path, path: Path, number: int) -> list[dict[str, Any]]:
    """The shortest of the run's eval records, evenly from each task."""
    recipe = configs.load(str(folder / run.CONFIG)).recipe
    file = data / "sft" / recipe / "eval.jsonl"
    found = dataset.shortest(dataset.from_folder(file.parent).eval, number)
    wanted = {(record.incident_id, record.task) for record in found}
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    records = [json.loads(line) for line in lines]
    chosen = [(one["incident_id"], one["task"]) in wanted for one in records]
    kept = [line for line, of_run in zip(lines, chosen, strict=True) if of_run]
    path.write_text("".join(kept), encoding="utf-8")
    return [record for record, of_run in zip(records, chosen, strict=True) if of_run]


def write_incident(data: Path, asked: Sequence[dict[str, Any]], path: Path) -> None:
    """The first incident that is asked about, as the source files hold it."""
    is_it = pl.col("incident_id") == asked[0]["incident_id"]
    incident = pl.read_parquet(data / "tables" / "incidents.parquet").filter(is_it)
    dags = pl.read_parquet(data / "tables" / "dags.parquet").filter(is_it).sort("dataset")
    content = {**incident.row(0, named=True), "dag_analysis": dags["text"][0]}
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def check_answers(path: Path, asked: Sequence[dict[str, Any]]) -> None:
    """See that every record is answered, of every task, and every risk answer is as documented."""
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    if [(one["incident_id"], one["task"]) for one in rows] != [
        (one["incident_id"], one["task"]) for one in asked
    ] or {one["task"] for one in rows} != set(TASKS):
        raise CheckFailed(f"{path} does not hold an answer to every record, of every task")
    for row in rows:
        if row["task"] == "risk" and (lacks := answer_fields.parse("risk", row["answer"]).missing):
            raise CheckFailed(f"a risk answer in {path} lacks {', '.join(lacks)}")


def publish_and_download(folder: Path, file: Path, work: Path) -> Path:
    """Publish the run to a Hub of our own; `file` as it comes back from there."""
    with HubServer() as hub:
        there = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(work / CACHE),
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": TOKEN,
        }
        terms = ("--repo-id", REPO, "--license", "apache-2.0")
        if json.loads((folder / run.SUMMARY).read_text(encoding="utf-8")).get("synthetic"):
            terms += ("--synthetic",)
        python("immune_train.publish", *terms, "--run", folder, environment=there)
        call([Path(sys.executable).with_name("hf"), "download", REPO, file.name], there)
    found = list((work / CACHE).rglob(f"snapshots/*/{file.name}"))
    if len(found) != 1 or sha256(found[0]) != sha256(file):
        raise CheckFailed(f"{file} is not what was downloaded as {file.name}")
    return found[0]


def answer(
    file: Path, incident: Path, output: Path, more: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """The model's answer to each task on the incident, without what varies."""
    asking = ("--task", "all", "--incident", incident, "--json", "--output", output)
    python("immune_train.generate", "--model", file, *asking, *more)
    found = json.loads(output.read_text(encoding="utf-8"))["answers"]
    if set(found) != set(TASKS):
        raise CheckFailed(f"{output} does not hold an answer of every task")
    return {
        task: {key: value for key, value in one.items() if not key.endswith("_seconds")}
        for task, one in found.items()
    }


def python(module: str, *arguments: object, environment: dict[str, str] | None = None) -> None:
    """Run one of our commands."""
    call([sys.executable, "-m", module, *arguments], environment)


def python_here(module: str, *arguments: object, environment: dict[str, str] | None = None) -> None:
    """As `python`, in this process, which has the libraries loaded, if the environment is its own.

    Raises:
        CheckFailed: the command failed.
    """
    if environment:
        return call([sys.executable, "-m", module, *arguments], environment)
    if code := cli.module(module).main([str(one) for one in arguments]):
        raise CheckFailed(f"{module} failed with exit code {code}")


def call(arguments: Sequence[object], environment: dict[str, str] | None = None) -> None:
    """Print a command, and run it with this in its environment.

    Raises:
        CheckFailed: it failed.
    """
    words = [str(argument) for argument in arguments]
    shown = shlex.join([Path(words[0]).name, *words[1:]])
    print(f"\n$ {shown}", flush=True)
    code = subprocess.run(words, env={**os.environ, **(environment or {})}, check=False).returncode
    if code:
        raise CheckFailed(f"`{shown}` failed with exit code {code}")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="edge_tiny.py", description=__doc__.splitlines()[0])
    made.add_argument("--data", type=Path, required=True, help="output folder of emit")
    made.add_argument("--run", type=Path, required=True, help="folder of the finished run")
    made.add_argument("--records", type=cli.positive, default=6, help="eval records (default: 6)")
    return made


def command(arguments: argparse.Namespace) -> None:
    chain(arguments.data, arguments.run, records=arguments.records)


if __name__ == "__main__":
    sys.exit(cli.run(parser(), command, None))
