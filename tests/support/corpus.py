"""Source folders made by hand, and what `emit` makes of them.

    source = Corpus().incident("a", cause={"gpt-4o": 20, "gpt-4o-mini": 20}).write(folder)

An incident is, unless told otherwise, in both datasets, answered by all four models, judged on
everything, and passes every gate of every shipped recipe; its winner is `gpt-4o`. A test changes
only what it is about. Whatever else a file can hold is put into `Corpus.rows`, the rows of each
file as they will be written.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from immune_data import prompts
from immune_data.common import duck

if TYPE_CHECKING:
    import duckdb

SUMMARIES = "summarization_dataset_v4.json"
CAUSE_RISK = "risk_dataset_v2.json"
RUN_1 = "summarization_dataset_v3_results_oss.json"
RUN_2 = "summarization_v4_new_results_oss.json"
MERGED = "summarization_results_merged.json"
CAUSE_RISK_RUN = "risk_dataset_v2_results_qwen35.json"
DATASETS = (SUMMARIES, CAUSE_RISK)
FILES = (SUMMARIES, CAUSE_RISK, RUN_1, RUN_2, CAUSE_RISK_RUN)

# model: its field in the summaries, its field in the cause and risk dataset
FIELDS = {
    "gpt-4o": ("llm_gpt_4o_analysis", "cause_risk_gpt_4o"),
    "gpt-4o-mini": ("llm_gpt4o_mini_analysis", "cause_risk_gpt_4o_mini"),
    "qwen2.5-3b": ("llm_qwen2_5:3b_analysis", "cause_risk_qwen2_5:3b"),
    "qwen2.5-1.5b": ("llm_qwen2_5_analysis", "cause_risk_qwen2_5"),
}
MODELS = tuple(FIELDS)
TASKS = ("summary", "cause", "risk")

# Each passes all gates, and `gpt-4o` leads everywhere.
SUMMARY_SCORES = {"gpt-4o": 9, "gpt-4o-mini": 8, "qwen2.5-3b": 6, "qwen2.5-1.5b": 5}
CAUSE_TOTALS = {"gpt-4o": 27, "gpt-4o-mini": 24, "qwen2.5-3b": 18, "qwen2.5-1.5b": 15}
RISK_TOTALS = {"gpt-4o": 26, "gpt-4o-mini": 23, "qwen2.5-3b": 17, "qwen2.5-1.5b": 14}

# Within 50-400, 50-600 and 30-300 both in characters // 4 and in words; only risks name a level.
_ANSWERS = {
    "summary": ("Summary of {} by {}.", "• 10:15 - a scan of many ports", 60),
    "cause": ("Causes of {} by {}.", "a beacon to a host that nobody knows", 80),
    "risk": ("Risk of {} by {}: High.", "the host may be lost", 40),
}


def answer(task: str, incident: str, model: str) -> str:
    """The answer that a model gives where a test does not say another."""
    opening, filling, words = _ANSWERS[task]
    found = [*opening.format(incident, model).split(" "), *(filling.split(" ") * words)]
    return " ".join(found[:words]) + "."


def dag(incident: str, dataset: str = "cause_risk") -> str:
    """The evidence of an incident where a test does not say another."""
    return f"Incident {incident} from {dataset}\n10:15 - horizontal port scan\n10:20 - beacon\n"


class Corpus:
    """Rows of source files on their way to a folder."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Any]] = {name: [] for name in (*FILES, MERGED)}

    def incident(
        self,
        incident_id: str,
        *,
        summary_scores: Mapping[str, Any] | None = SUMMARY_SCORES,
        cause: Mapping[str, Any] | None = CAUSE_TOTALS,
        risk: Mapping[str, Any] | None = RISK_TOTALS,
        rankings: Mapping[str, Any] | None = None,
        run: str = RUN_1,
        answers: Mapping[str, Mapping[str, Any]] | None = None,
        dag: str | None = "",
        summary_dag: str | None = None,
        datasets: Collection[str] = DATASETS,
        facts: Mapping[str, Any] | None = None,
        summary_facts: Mapping[str, Any] | None = None,
        extra: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> Corpus:
        """Add an incident to every file that it belongs in.

        Args:
            summary_scores: model to score, in the order of the record's keys; None: not judged.
            cause: model to total, or to an object of scores; None: not judged on causes.
            risk: the same for risks.
            rankings: place to model of the cause and risk judge; default: by the sum of totals.
            run: the file that holds the summary verdict.
            answers: model and task to text, over the default ones; None is a null answer.
            dag: the evidence in the cause and risk dataset; None: missing, empty: the default.
            summary_dag: the same for the summaries.
            datasets: the datasets that hold the incident.
            facts: identity fields of both datasets, over the default ones.
            summary_facts: identity fields of the summaries only.
            extra: file to fields laid over the incident's row there.
        """
        texts = {
            model: {task: answer(task, incident_id, model) for task in TASKS} for model in MODELS
        }
        for model, given in (answers or {}).items():
            texts[model] |= given
        identity = {
            "incident_id": incident_id,
            "category": "Malware",
            "source_ip": "192.168.1.7",
            "timewindow": "3",
            "timeline": "2024-01-01 10:00:00 to 2024-01-01 11:00:00",
            "threat_level": 12.5,
            "event_count": 15,
            **(facts or {}),
        }
        rows: dict[str, dict[str, Any]] = {}
        if SUMMARIES in datasets:
            row = {**identity, **(summary_facts or {})}
            if summary_dag is not None:
                row["dag_analysis"] = summary_dag or _dag(incident_id, "summaries")
            for model, (field, _) in FIELDS.items():
                row[field] = {"summary": texts[model]["summary"], "behavior_analysis": "Odd."}
            rows[SUMMARIES] = row
        if CAUSE_RISK in datasets:
            row = dict(identity)
            if dag is not None:
                row["dag_analysis"] = dag or _dag(incident_id, "cause_risk")
            for model, (_, field) in FIELDS.items():
                row[field] = {
                    "cause_analysis": texts[model]["cause"],
                    "risk_assessment": texts[model]["risk"],
                }
            rows[CAUSE_RISK] = row
        if summary_scores is not None:
            rows[run] = summary_verdict(incident_id, summary_scores)
        if cause is not None or risk is not None:
            rows[CAUSE_RISK_RUN] = cause_risk_verdict(incident_id, cause, risk, rankings)
        for name, fields in (extra or {}).items():
            rows[name] = {**rows.get(name, {}), **fields}
        for name, row in rows.items():
            self.rows[name].append(row)
        return self

    def incidents(self, ids: Iterable[str], **how: Any) -> Corpus:
        """Add several incidents alike."""
        for incident_id in ids:
            self.incident(incident_id, **how)
        return self

    def write(
        self,
        folder: Path,
        *,
        gzipped: bool | Collection[str] = False,
        bom: bool = False,
        wrapped: bool = False,
        ascii_only: bool = True,
    ) -> Path:
        """Write the files into `folder`, which comes back; those that may be absent if empty.

        `wrapped` writes the object form, with keys around the array that mean nothing to us.
        """
        folder.mkdir(parents=True, exist_ok=True)
        for name, rows in self.rows.items():
            if not rows and name in (RUN_2, MERGED):
                continue
            if not rows and name == RUN_1 and self.rows[MERGED]:
                continue
            content: Any = rows
            if wrapped:
                content = {"made": {"by": ["hand"]}, "incidents": rows, "total": len(rows)}
            text = json.dumps(content, ensure_ascii=ascii_only).encode()
            data = b"\xef\xbb\xbf" + text if bom else text
            if gzipped is True or (gzipped and name in gzipped):
                (folder / f"{name}.gz").write_bytes(gzip.compress(data, mtime=0))
            else:
                (folder / name).write_bytes(data)
        return folder


_dag = dag  # `Corpus.incident` has an argument of that name


def summary_verdict(incident_id: str, scores: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a summary judge."""
    return {
        "incident_id": incident_id,
        "scores": dict(scores),
        "rankings": _ranked(scores),
        "justification": f"The first is clearest on {incident_id}.",
    }


def cause_risk_verdict(
    incident_id: str,
    cause: Mapping[str, Any] | None,
    risk: Mapping[str, Any] | None,
    rankings: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A row of a cause and risk judge; a bare total stands for an object of scores."""
    row: dict[str, Any] = {"incident_id": incident_id}
    totals: dict[str, float] = {}
    for key, scores in (("cause_scores", cause), ("risk_scores", risk)):
        if scores is None:
            continue
        row[key] = {
            model: {"total": score} if isinstance(score, int | float) else score
            for model, score in scores.items()
        }
        for model, score in row[key].items():
            total = score.get("total") if isinstance(score, dict) else None
            totals[model] = totals.get(model, 0) + (total if isinstance(total, int | float) else 0)
    row["rankings"] = dict(rankings) if rankings is not None else _ranked(totals)
    row["cause_justification"] = f"The first is most specific on {incident_id}."
    return row


def _ranked(scores: Mapping[str, Any]) -> dict[str, str]:
    def score(model: str) -> float:
        return scores[model] if isinstance(scores[model], int | float) else 0

    ordered = sorted(scores, key=score, reverse=True)
    return {str(place): model for place, model in enumerate(ordered, start=1)}


def records(out: Path, split: str, recipe: str = "unified-v2") -> list[dict[str, Any]]:
    """The emitted records of a split."""
    lines = (out / "sft" / recipe / f"{split}.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == "", "the last line has no end"
    return [json.loads(line) for line in lines]


def manifest(out: Path, recipe: str = "unified-v2") -> dict[str, Any]:
    """The manifest of an emitted dataset."""
    return json.loads((out / "sft" / recipe / "manifest.json").read_text(encoding="utf-8"))


def source_rows(source: Path, name: str) -> list[Any]:
    """The rows of a source file, as they lie in it."""
    plain, packed = source / name, source / f"{name}.gz"
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else plain.read_bytes()
    content = json.loads(data.decode("utf-8-sig"))
    return content["incidents"] if isinstance(content, dict) else content


def table(out: Path, name: str) -> list[dict[str, Any]]:
    """The rows of one of the normalised tables."""
    import polars as pl

    return pl.read_parquet(out / "tables" / f"{name}.parquet").to_dicts()


def query(out: Path, sql: str, recipe: str = "unified-v2") -> list[tuple]:
    """The rows of a query, asked in the schema of a recipe."""
    with _instance().cursor() as connection:
        # Attached for this query only, since a file may be replaced by another.
        duck.attach(connection, out / "immune.duckdb", "immune", "read_only")
        try:
            connection.execute(f'use immune."{recipe}"')
            return connection.execute(sql).fetchall()
        finally:
            connection.execute("use memory")
            connection.execute("detach immune")


@cache
def _instance() -> duckdb.DuckDBPyConnection:
    """DuckDB itself, which takes longer to start than a query to answer."""
    return duck.connect()


def digests(folder: Path) -> dict[str, str]:
    """Every file under `folder`, by relative path, with the sha256 of its bytes."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def states(folder: Path) -> dict[Path, tuple[int, ...]]:
    """Every file under `folder`, with what none keeps that is written to, or written anew."""
    stats = {path: path.lstat() for path in folder.rglob("*") if not path.is_dir()}
    return {path: (stat.st_ctime_ns, stat.st_ino, stat.st_size) for path, stat in stats.items()}


def facts(**given: str) -> dict[str, str]:
    return {name: f"<{name}>" for name in prompts.FACTS} | given


def many_kinds(kinds: int) -> str:
    """Evidence of so many kinds of events, each at eight addresses."""
    words = ("".join(letters) for letters in product("bdfgklmnprstvz", "aeiou", "lmnrst"))
    return "\n".join(
        f"• 10:{number:02} - Event to 10.0.{kind}.{number} [LOW]\n"
        f"  - A {word} was seen at 10.0.{kind}.{number}. threat level: low."
        for kind, word in zip(range(kinds), words, strict=False)
        for number in range(8)
    )
