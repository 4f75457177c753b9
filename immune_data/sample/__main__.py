"""Write the sample corpus: synthetic source files of the documented size.

In: a seed and a scale. Out: the five source files in `--output`, plain JSON with one incident per
line and the mark `"synthetic": true`, which everything made from them repeats; each appears whole
or not at all. The same seed gives the same bytes.

Run `python -m immune_data.sample --output data/source`. At scale 1 the files give all counts in the
documents; at scale K they contain K independent blocks of that size.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from immune_data.common import cli, files
from immune_data.common.errors import ImmuneError
from immune_data.sample import alerts, answers, incidents, plan
from immune_data.sample.incidents import Incident
from immune_data.sample.plan import Forms, Verdict

SUMMARIES = "summarization_dataset_v4.json"
RISKS = "risk_dataset_v2.json"
SUMMARY_RUN_1 = "summarization_dataset_v3_results_oss.json"
SUMMARY_RUN_2 = "summarization_v4_new_results_oss.json"
RISK_RUN = "risk_dataset_v2_results_qwen35.json"
FILES = (SUMMARIES, RISKS, SUMMARY_RUN_1, SUMMARY_RUN_2, RISK_RUN)
_HEAD, _TAIL = b'{"synthetic": true, "incidents": [\n', b"\n]}\n"
_MERGED_RUNS = "summarization_results_merged.json"

# Real datasets escape non-ASCII characters; of ours one file does and the others do not.
_ESCAPED = frozenset((SUMMARIES,))
_SUMMARY_FIELDS = {
    "gpt-4o": "llm_gpt_4o_analysis",
    "gpt-4o-mini": "llm_gpt4o_mini_analysis",
    "qwen2.5-3b": "llm_qwen2_5:3b_analysis",
    "qwen2.5-1.5b": "llm_qwen2_5_analysis",
}
_RISK_FIELDS = {
    "gpt-4o-mini": "cause_risk_gpt_4o_mini",
    "gpt-4o": "cause_risk_gpt_4o",
    "qwen2.5-1.5b": "cause_risk_qwen2_5",
    "qwen2.5-3b": "cause_risk_qwen2_5:3b",
}
_SPELLINGS = {
    "gpt-4o": ("GPT-4o",),
    "gpt-4o-mini": ("GPT-4o-mini",),
    "qwen2.5-1.5b": ("Qwen2.5", "Qwen2.5 1.5B"),
    "qwen2.5-3b": ("Qwen2.5 3b", "Qwen2.5 3B"),
}
_CAUSE_PARTS = ("evidence_grounding", "cause_specificity", "alternative_hypotheses")
_RISK_PARTS = ("risk_calibration", "actionability", "business_impact")
_EXTRA = (
    ("labelling_run", "run-07"),
    ("exporter", {"name": "sample", "revision": 3}),
    ("tags", ["lab", "capture-12"]),
    ("reviewed", None),
)
_MAX_SCALE = 10_000


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file that was written into the folder."""

    name: str
    incidents: int
    bytes: int


def write(out: Path, *, seed: int = 0, scale: int = 1, force: bool = False) -> list[WrittenFile]:
    """Write the sample corpus of `scale` blocks to `out`.

    Raises:
        ImmuneError: `out` is not a writable folder, or already contains source files: with `force`
            a sample corpus is replaced, and nothing else.
    """
    _check_folder(out, force)
    try:
        return _write(out, seed, scale)
    except OSError as error:
        raise ImmuneError(
            f"cannot write the sample corpus to {out} ({error.strerror or error}): "
            "name a writable folder with enough room with --output"
        ) from None


def _check_folder(out: Path, force: bool) -> None:
    if out.exists() and not out.is_dir():
        raise ImmuneError(f"{out} is a file: name a folder with --output")
    # Files that --force would not replace but leave next to the new files, in conflict with them.
    rivals = (*(f"{name}.gz" for name in FILES), _MERGED_RUNS, f"{_MERGED_RUNS}.gz")
    try:
        names = {path.name for path in out.iterdir()} if out.exists() else set()
    except OSError as error:
        raise ImmuneError(
            f"cannot read folder {out} ({error.strerror}): name another one with --output"
        ) from None
    for name in rivals:
        if name in names:
            raise ImmuneError(
                f"{out / name} is a source file that the sample corpus would contradict: "
                "move it away or name another folder with --output"
            )
    for name in FILES:
        if name not in names:
            continue
        if not _is_ours(out / name):
            raise ImmuneError(
                f"{out / name} exists and does not belong to a sample corpus: "
                "move it away or name another folder with --output"
            )
        if not force:
            raise ImmuneError(
                f"{out / name} already exists: name another folder with --output, "
                "or replace the sample corpus with --force"
            )


def _is_ours(path: Path) -> bool:
    """Whether a file begins like a sample corpus; other files are never replaced."""
    try:
        with path.open("rb") as file:
            return file.read(len(_HEAD)) == _HEAD
    except OSError:
        return False


def _write(out: Path, seed: int, scale: int) -> list[WrittenFile]:
    with files.locked(out), files.staging(out) as hidden:
        with ExitStack() as stack:
            sources = {
                name: _File(stack.enter_context((hidden / name).open("wb")), name in _ESCAPED)
                for name in FILES
            }
            for number in range(scale):
                _write_block(sources, seed, number)
            for file in sources.values():
                file.close()
        sizes = {name: (hidden / name).stat().st_size for name in FILES}
        for name in FILES:
            files.move(hidden / name, out / name)
    return [WrittenFile(name, sources[name].rows, sizes[name]) for name in FILES]


class _File:
    """A source file being written: the mark, and the array of incidents, one per line."""

    def __init__(self, file: BinaryIO, escaped: bool) -> None:
        self.rows = 0
        self._file = file
        self._encode = json.JSONEncoder(ensure_ascii=escaped, allow_nan=False).encode

    def add(self, element: dict[str, Any]) -> None:
        self._file.write(b",\n" if self.rows else _HEAD)
        self._file.write(self._encode(element).encode())
        self.rows += 1

    def close(self) -> None:
        self._file.write(_TAIL)


def _write_block(sources: dict[str, _File], seed: int, number: int) -> None:
    block = plan.plan_block(seed, number)
    # Judges' files repeat the facts of incidents, in another order than the datasets.
    judged_incidents: dict[str, Incident] = {}
    for incident in incidents.incidents(seed, block):
        role = incident.role
        rng = plan.stream(seed, role.incident_id, "answers")
        forms = plan.forms(seed, role)
        no_dag = _missing_dag(rng, role.judged)
        sources[SUMMARIES].add(_summary_row(incident, forms, no_dag, rng))
        if role.judged:
            sources[RISKS].add(_risk_row(incident, forms, no_dag, rng))
            judged_incidents[role.incident_id] = incident.without_dags()
    orders = (
        (SUMMARY_RUN_1, block.first_run),
        (SUMMARY_RUN_2, block.second_run),
        (RISK_RUN, block.risk_run),
    )
    for name, order in orders:
        for position in order:
            incident = judged_incidents[block.roles[position].incident_id]
            verdict = plan.verdict(seed, incident.role)
            rng = plan.stream(seed, incident.role.incident_id, name)
            verdict_row = _risk_verdict if name == RISK_RUN else _summary_verdict
            sources[name].add(verdict_row(incident, verdict, name, rng))


def _missing_dag(rng: random.Random, judged: bool) -> str:
    """The dataset in which the incident's DAG is missing; never both if it is judged."""
    chance = rng.random()
    if chance < 0.06:
        return SUMMARIES
    return RISKS if judged and chance < 0.07 else ""


def _identity(incident: Incident, rng: random.Random) -> dict[str, Any]:
    count = incident.event_count
    return {
        "incident_id": incident.role.incident_id,
        "category": incident.category,
        "source_ip": incident.source_ip,
        "timewindow": incident.timewindow,
        "timeline": incident.timeline,
        "threat_level": incident.threat_level,
        "event_count": float(count) if rng.random() < 0.03 else count,
    }


def _set_dag(row: dict[str, Any], dag: str, missing: bool, rng: random.Random) -> None:
    if not missing:
        row["dag_analysis"] = dag
    elif rng.random() < 0.5:
        row["dag_analysis"] = rng.choice((None, ""))


def _set_extra(row: dict[str, Any], rng: random.Random) -> None:
    if rng.random() < 0.02:
        key, value = rng.choice(_EXTRA)
        row[key] = value


def _set_entry(row: dict[str, Any], field: str, entry: Any, form: str, bare: str) -> None:
    """Put a model's entry into its dataset's row, or something instead of it."""
    match form:
        case "absent":
            return
        case "null":
            row[field] = None
        case "empty":
            row[field] = ""
        case "bare":
            row[field] = bare
        case _:
            row[field] = entry


def _summary_row(
    incident: Incident, forms: Forms, no_dag: str, rng: random.Random
) -> dict[str, Any]:
    row = _identity(incident, rng)
    _set_dag(row, incident.summary_dag, no_dag == SUMMARIES, rng)
    for model, field in _SUMMARY_FIELDS.items():
        text = answers.answer(incident, "summary", model, forms.answers["summary", model], rng)
        entry: dict[str, Any] = {} if text is answers.ABSENT else {"summary": text}
        entry["behavior_analysis"] = answers.behaviour(incident, model, rng)
        bare = text if text and text is not answers.ABSENT else "No summary."
        _set_entry(row, field, entry, forms.summary_entries.get(model, ""), bare)
    _set_extra(row, rng)
    return row


def _risk_row(incident: Incident, forms: Forms, no_dag: str, rng: random.Random) -> dict[str, Any]:
    row = _identity(incident, rng)
    _set_dag(row, incident.risk_dag, no_dag == RISKS, rng)
    for model, field in _RISK_FIELDS.items():
        entry: dict[str, Any] = {}
        for task, key in (("cause", "cause_analysis"), ("risk", "risk_assessment")):
            text = answers.answer(incident, task, model, forms.answers[task, model], rng)
            if text is not answers.ABSENT:
                entry[key] = text
        bare = entry.get("cause_analysis") or "No answer."
        _set_entry(row, field, entry, forms.risk_entries.get(model, ""), bare)
    _set_extra(row, rng)
    return row


def _verdict_row(incident: Incident, rng: random.Random) -> dict[str, Any]:
    row: dict[str, Any] = {"incident_id": incident.role.incident_id}
    if rng.random() < 0.97:
        count = incident.event_count
        row["category"] = incident.category
        row["event_count"] = float(count) if rng.random() < 0.03 else count
        row["threat_level"] = incident.threat_level
    return row


def _spellings(rng: random.Random, own: int) -> dict[str, str]:
    """The spellings of the models in this record: mostly its file's usual ones, number `own`."""
    if rng.random() < 0.85:
        return {model: names[min(own, len(names) - 1)] for model, names in _SPELLINGS.items()}
    return {model: rng.choice(names) for model, names in _SPELLINGS.items()}


def _rankings(ranking: Sequence[str], names: dict[str, str]) -> dict[str, str]:
    return {str(place): names[model] for place, model in enumerate(ranking, start=1)}


def _summary_verdict(
    incident: Incident, verdict: Verdict, name: str, rng: random.Random
) -> dict[str, Any]:
    row = _verdict_row(incident, rng)
    first = name == SUMMARY_RUN_1
    if rng.random() < (0.95 if first else 0.2):
        fields = rng.sample(list(_SUMMARY_FIELDS.values()), 4)
        row["randomization"] = dict(zip("ABCD", fields, strict=True))
    row["rankings"] = _rankings(verdict.summary_ranking, _spellings(rng, 0))
    names = _spellings(rng, 0)
    row["scores"] = {names[model]: score for model, score in verdict.summary.items()}
    if rng.random() < (0.96 if first else 0.5):
        row["justification"] = answers.justification(
            incident, "summary", [names[m] for m in verdict.summary_ranking], rng
        )
    _set_extra(row, rng)
    return row


def _risk_verdict(
    incident: Incident, verdict: Verdict, name: str, rng: random.Random
) -> dict[str, Any]:
    row = _verdict_row(incident, rng)
    row["rankings"] = _rankings(verdict.ranking, _spellings(rng, 1))
    names = _spellings(rng, 1)
    only_totals = rng.random() < 0.08
    for key, totals, parts in (
        ("cause_scores", verdict.cause, _CAUSE_PARTS),
        ("risk_scores", verdict.risk, _RISK_PARTS),
    ):
        row[key] = {
            names[model]: _scores(total, () if only_totals else parts, rng)
            for model, total in totals.items()
        }
    for task, totals in (("cause", verdict.cause), ("risk", verdict.risk)):
        if rng.random() < 0.9:
            ranking = [names[m] for m in sorted(totals, key=lambda m: -totals[m])]
            row[f"{task}_justification"] = answers.justification(incident, task, ranking, rng)
    _set_extra(row, rng)
    return row


def _scores(total: float, parts: Sequence[str], rng: random.Random) -> dict[str, float]:
    """A total and its sub-scores, each from 0 to 10."""
    scores: dict[str, float] = {}
    rest = int(total)
    for left, part in reversed(list(enumerate(parts))):
        even = rest // (left + 1)
        share = rest if left == 0 else even + rng.choice((-1, 0, 0, 1))
        score = max(0, rest - 10 * left, min(10, rest, share))
        scores[part] = score
        rest -= score
    if parts and rng.random() < 0.03:
        del scores[rng.choice(list(scores))]
    scores["total"] = float(total) if rng.random() < 0.01 else total
    return scores


def _rows(output: Sequence[WrittenFile]) -> Iterator[str]:
    width = max(len(file.name) for file in output)
    for file in output:
        yield f"{file.name:<{width}}  {file.incidents:>9,} incidents  {file.bytes:>14,} bytes"


def _natural(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _MAX_SCALE:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {_MAX_SCALE:,}")
    return int(text)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = cli.parser(
        "immune_data.sample",
        summary="Write synthetic source files that give every documented count.",
        example="python -m immune_data.sample --output data/source",
    )
    parser.add_argument(
        "--output",
        type=cli.folder,
        default=Path("data/source"),
        help="folder to write to, created if missing (default: data/source)",
    )
    parser.renamed(out="--output")
    parser.add_argument("--seed", type=int, default=0, help="another seed, another corpus")
    parser.add_argument(
        "--scale", type=_natural, default=1, help="how many times as many incidents (default: 1)"
    )
    parser.add_argument(
        "--dialect",
        choices=alerts.DIALECTS,
        type=alerts.dialect,
        help="instead of the source files, write the alerts from which the incidents are made, in "
        "this dialect",
    )
    parser.add_argument("--force", action="store_true", help="replace a sample corpus in --output")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")
    return cli.run(parser, _command, argv)


def _command(args: argparse.Namespace) -> int:
    options = {"seed": args.seed, "scale": args.scale, "force": args.force}
    if args.dialect:
        output = [WrittenFile(alerts.NAME, *alerts.write(args.output, args.dialect, **options))]
    else:
        output = write(args.output, **options)
    if args.json:
        print(json.dumps([asdict(file) for file in output], indent=2))
    else:
        for line in _rows(output):
            print(line)
    return 0


if __name__ == "__main__":
    sys.exit(main())
