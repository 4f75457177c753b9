"""From answers to verdicts to a dataset whose winners are the judge's, by the users' own commands.

    python tests/support/judge_tiny.py --source data/source --work data/judge-tiny

In: the sample corpus. Out: in `--work`, some of its incidents, the verdicts of a judge on loopback
whose preferences are known (a quality that the text alone decides, a point for the first place,
noise, and one reply in ten broken), and what `emit` makes of the answers before and after. Exit
code 1 or 2 if a step fails, if a rerun asks anything, or if a record's answer is not the one that
the verdicts prefer.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from pathlib import Path
from typing import Any

from chat_server import ChatServer
from corpus import source_rows
from edge_tiny import python
from judging import drawn
from synthetic_judge import SyntheticJudge

from immune_data import recipes
from immune_data.common import cli
from immune_data.common.digests import sha256
from immune_data.common.errors import CheckFailed
from immune_data.recipes import DEFAULT

VERDICTS = {"summary": "summary_verdicts.json", "cause_risk": "cause_risk_verdicts.json"}
RUNS = "".join(
    f'    {{ file = "{file}", judges = "{kind}", judge = "tiny-judge", provider = "us" }},\n'
    for kind, file in VERDICTS.items()
)
GATES = """
[gates]
summary_score_min = 0
cause_total_min = 0
risk_total_min = 0
"""
BEFORE = f'description = "as it was judged"\nextends = "{DEFAULT}"\n{GATES}'
AFTER = (
    'description = "as a judge on loopback sees it"\n'
    f'extends = "{DEFAULT}"\n{GATES}\n[sources]\njudge_runs = [\n{RUNS}]\n'
)

Key = tuple[str, str]  # an incident and a task


def chain(source: Path, work: Path, *, incidents: int = 24) -> int:
    """Everything from answers to emitted records; how many winners the verdicts change.

    Raises:
        CheckFailed: a step failed, or what it left is not what it should be.
    """
    shutil.rmtree(work, ignore_errors=True)
    folder = work / "source"
    folder.mkdir(parents=True)
    _write_some(source, folder, incidents)
    for name, text in (("before", BEFORE), ("after", AFTER)):
        (work / f"judge-tiny-{name}.toml").write_text(text, encoding="utf-8")
    before = _winners(work, "before")
    _judge(work, folder)
    after = _winners(work, "after")
    wrong = [key for key, model in after.items() if model != _preferred(folder, *key)]
    if wrong or not after:
        raise CheckFailed(f"of {len(after)} records {len(wrong)} are not of the judge's choice")
    changed = sum(model != before.get(key, model) for key, model in after.items())
    if not changed:
        raise CheckFailed("the verdicts changed no winner")
    print(
        f"\nall {len(after)} answers are of the judge's choice; {changed} are of another model than"
        " before",
        flush=True,
    )
    return changed


def _write_some(source: Path, folder: Path, number: int) -> None:
    """The rows of the first incidents that every file has."""
    own = recipes.load(DEFAULT).sources
    names = [own.summaries, own.cause_risk, own.judge_runs[0].file, own.judge_runs[-1].file]
    found = {name: source_rows(source, name) for name in names}
    ids = [{row["incident_id"] for row in rows} for rows in found.values()]
    some = sorted(set.intersection(*ids))[:number]
    for name, rows in found.items():
        kept = [row for row in rows if row["incident_id"] in some]
        text = json.dumps({"synthetic": True, "incidents": kept})
        (folder / name).write_text(text, encoding="utf-8")


def _judge(work: Path, folder: Path) -> None:
    """Judge everything, and see that a second run asks nobody and writes the same."""
    own = recipes.load(DEFAULT).sources
    judge = SyntheticJudge(drawn, first=1, noise=0.5, malformed=0.1)
    given: list[object] = ["--incidents", folder / own.cause_risk, folder / own.summaries]
    given += ["--endpoints", work / "endpoints.toml", "--store", work / "asked.sqlite"]

    def ask(kind: str, *more: object) -> None:
        python("immune_data.judge", *given, "--judges", kind, *more)

    with ChatServer(judge) as server:
        (work / "endpoints.toml").write_text(
            f'[[endpoints]]\nurl = "{server.url}"\nmodel = "tiny-judge"\njson_schema = true\n',
            encoding="utf-8",
        )
        ask("summary", "--dry-run")
        for kind, file in VERDICTS.items():
            ask(kind, "--output", folder / file, "--yes")
        earlier = ("--again", folder / own.judge_runs[0].file)
        ask("summary", *earlier, "--output", work / "again.json", "--yes")
    written = {file: sha256(folder / file) for file in VERDICTS.values()}
    # The server is gone: a second run must do without it.
    for kind, file in VERDICTS.items():
        ask(kind, "--output", folder / file)
    if written != {file: sha256(folder / file) for file in VERDICTS.values()}:
        raise CheckFailed(f"a second run wrote other verdicts into {folder}")


def _winners(work: Path, name: str) -> dict[Key, str]:
    """Emit; the model of each record."""
    recipe = work / f"judge-tiny-{name}.toml"
    given = ("--source", work / "source", "--data", work / name, "--recipe", recipe)
    python("immune_data.emit", *given)
    found = {}
    for split in ("train", "eval"):
        file = work / name / "sft" / recipe.stem / f"{split}.jsonl"
        for line in file.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            found[record["incident_id"], record["task"]] = record["model"]
    return found


def _preferred(folder: Path, incident: str, task: str) -> str | None:
    """The model that the verdicts prefer: by rule 3, a risk is of the cause winner."""
    kind, field = ("summary", "scores") if task == "summary" else ("cause_risk", "cause_scores")
    content = json.loads((folder / VERDICTS[kind]).read_text(encoding="utf-8"))
    for row in content["incidents"]:
        if row["incident_id"] == incident:
            return max(row[field], key=lambda name: _total(row[field][name]))
    return None


def _total(score: Any) -> float:
    return score["total"] if isinstance(score, dict) else score


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="judge_tiny.py", description=(__doc__ or "").split("\n")[0])
    made.add_argument("--source", type=Path, required=True, help="folder of the sample corpus")
    made.add_argument("--work", type=Path, required=True, help="folder to work in, made anew")
    made.add_argument("--incidents", type=cli.positive, default=24, help="(default: 24)")
    return made


def command(arguments: argparse.Namespace) -> None:
    chain(arguments.source, arguments.work, incidents=arguments.incidents)


if __name__ == "__main__":
    sys.exit(cli.run(parser(), command, None))
